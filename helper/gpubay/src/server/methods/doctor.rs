//! `gpubay/doctor`: what is in the way on this machine, and what to do about it.

use super::super::method::request;
use super::super::method::{Call, Kind, Method};
use super::super::wire::{Failure, FolderParams};
use crate::workspace::doctor::{self, DoctorReport};

pub(in crate::server) struct Doctor;

impl Method for Doctor {
    const NAME: &'static str = "gpubay/doctor";
    const KIND: Kind = Kind::Reads;
    type Params = FolderParams;
    type Answer = DoctorReport;

    async fn answer(call: Call, params: FolderParams) -> Result<DoctorReport, Failure> {
        let _ = params;
        Ok(doctor::examine(&request(call.folder.clone(), None)?, &[], &call.progress).await)
    }
}
