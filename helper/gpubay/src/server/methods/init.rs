//! `gpubay/init`: writes a fresh workspace's files, or tells which it would; what exists is left as it is.

use super::super::method::{About, Call, Kind, Method, request};
use super::super::wire::{Failure, InitParams, InitPreset, InitReport};
use crate::error::Error;
use crate::scaffold::{self, Base, Preset, Style, Wish};
use crate::workspace::elsewhere;

pub(in crate::server) struct Init;

impl Method for Init {
    const NAME: &'static str = "gpubay/init";
    const KIND: Kind = Kind::Works;
    type Params = InitParams;
    type Answer = InitReport;

    async fn answer(call: Call, params: InitParams) -> Result<InitReport, Failure> {
        let request = request(call.folder.clone(), None)?;
        let mut found = scaffold::look(&request)?;
        let engine = elsewhere::answering(&request).await;
        let seen = engine.as_ref().map(|(engine, info)| (info, engine.is_local()));
        let usual = if scaffold::has_gpu(seen) { Preset::NgcPytorch } else { Preset::Python };
        let base = match (params.base, params.preset) {
            (Some(image), _) => Some(Base::Image(image)),
            (None, Some(name)) => Some(Base::Preset(preset(&name)?)),
            (None, None) => found.needs_base().then_some(Base::Preset(usual)),
        };
        let wish = Wish { base, name: params.name, style: params.style.as_deref().map(style).transpose()? };
        scaffold::check(&wish)?;
        for folder in &mut found.folders {
            folder.mounted = params.mounts.contains(&folder.container.to_string());
        }
        let mut plan = scaffold::plan(&found, &wish)?;
        let weight = match &plan.base {
            Some(base) => {
                let engine = engine.as_ref().map(|(engine, _)| engine);
                Some(scaffold::weigh(base, engine, false, &call.progress).await)
            }
            None => None,
        };
        call.progress.check()?;
        if !params.dry_run {
            scaffold::apply(&found, &mut plan)?;
        }
        let preset = |preset: Preset| InitPreset {
            name: preset.name().to_owned(),
            image: preset.image().to_owned(),
            about: preset.about().to_owned(),
        };
        Ok(InitReport {
            base: plan.base.as_ref().map(|base| base.image().to_owned()),
            weight,
            presets: Preset::ALL.into_iter().map(preset).collect(),
            usual: usual.name().to_owned(),
            mounts: if found.takes_mounts() { found.folders.clone() } else { Vec::new() },
            files: plan.files,
            notes: plan.notes,
            undone: plan.undone,
        })
    }
}

fn preset(name: &str) -> Result<Preset, Error> {
    let names = || Preset::ALL.map(Preset::name).join(", ");
    let found = Preset::ALL.into_iter().find(|preset| preset.name() == name);
    found.ok_or_else(|| Error::new("unknown_preset", format!("{name:?} is no preset; there are: {}", names())))
}

fn style(name: &str) -> Result<Style, Error> {
    match name {
        "autopep8" => Ok(Style::Autopep8),
        "ruff" => Ok(Style::Ruff),
        _ => Err(Error::new("unknown_style", format!("{name:?} is no style; there are: autopep8, ruff"))),
    }
}

impl About for InitParams {
    fn folder(&self) -> &str {
        &self.work.folder
    }

    fn token(&self) -> Option<&str> {
        self.work.token()
    }
}
