//! What can be said of a Dockerfile before it is built.

use std::collections::{BTreeMap, BTreeSet};

use tower_lsp::lsp_types::{Diagnostic, DiagnosticSeverity, NumberOrString, Position, Range};

use crate::engine::build::dockerfile::parse;
use crate::gpu::cuda::{self, Fit, Machine};
use crate::registry::life::Day;
use crate::workspace::fingerprint::{every_from, froms};
use crate::workspace::fit::{DRIVER, judge, wants};

/// How the file is built, and what the result meets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Built {
    pub(in crate::server) args: BTreeMap<String, String>,
    pub(in crate::server) target: Option<String>,
    /// `None`: containers get no GPU, or what driver they meet is not known.
    pub(in crate::server) machine: Option<Machine>,
}

/// Base images whose makers have ended them; and those that the driver does not run, in stages that are built.
pub(super) fn check(text: &str, built: &Built, today: Day) -> Vec<Diagnostic> {
    let parsed = parse(text);
    let needed: BTreeSet<usize> =
        froms(&parsed, &built.args, built.target.as_deref()).into_iter().map(|(line, _)| line).collect();
    let mut found = Vec::new();
    for (number, image) in every_from(&parsed, &built.args) {
        let line = (number as u32).saturating_sub(1);
        let remarks = judge(&image, None, built.machine.as_ref(), today).into_iter();
        found.extend(remarks.filter(|remark| remark.code != DRIVER || needed.contains(&number)).map(|remark| {
            Diagnostic {
                range: Range::new(Position::new(line, 0), Position::new(line, u32::from(u16::MAX))),
                severity: Some(DiagnosticSeverity::WARNING),
                code: Some(NumberOrString::String(remark.code.to_owned())),
                source: Some("GPU Bay".to_owned()),
                message: format!("{}\n{}", remark.text, remark.next),
                ..Diagnostic::default()
            }
        }));
    }
    found
}

/// What is known of the image that a line starts from.
pub(super) fn hover(text: &str, position: Position, built: &Built) -> Option<String> {
    let parsed = parse(text);
    let (_, image) = every_from(&parsed, &built.args)
        .into_iter()
        .find(|(number, _)| (*number as u32).saturating_sub(1) == position.line)?;
    let wants = wants(&image, None)?;
    let least = cuda::needs(wants.cuda);
    let needs = least.map(|least| format!(", needs driver >= {least}")).unwrap_or_default();
    let here = built.machine.as_ref().map(|machine| {
        let how = match cuda::fit(&wants, machine) {
            Fit::Fits => "runs it",
            Fit::ByCompat => "runs it by the image's cuda-compat",
            Fit::TooOld { .. } | Fit::TooNew { .. } => "is too old for it",
            Fit::Refused { .. } => "is refused by what the image asks for",
            Fit::Unknown => "is not known to run it or not",
        };
        format!("\nThe driver here, {}, {how}.", machine.driver)
    });
    Some(format!("{image}\nCUDA {}{needs}.{}", wants.cuda, here.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = (2026, 11, 27);

    fn old() -> Built {
        let brands = vec![Some("geforce".to_owned())];
        let machine = Machine { driver: "470.57.02".to_owned(), brands, ..Machine::default() };
        Built { machine: Some(machine), ..Built::default() }
    }

    fn found(text: &str, built: &Built) -> Vec<(u32, String)> {
        let code = |code: Option<NumberOrString>| match code {
            Some(NumberOrString::String(code)) => code,
            other => panic!("{other:?}"),
        };
        check(text, built, TODAY).into_iter().map(|one| (one.range.start.line, code(one.code))).collect()
    }

    fn at(line: u32, code: &str) -> (u32, String) {
        (line, code.to_owned())
    }

    #[test]
    fn an_old_base_is_said_on_its_line() {
        let text =
            "# a comment\nARG V=18.04\nFROM ubuntu:${V} AS old\nRUN true\nFROM python:3.13\n\nFROM debian:buster\n";
        let said = check(text, &Built::default(), TODAY);
        let lines: Vec<u32> = said.iter().map(|diagnostic| diagnostic.range.start.line).collect();
        assert_eq!(lines, [2, 6]);
        assert!(said[0].message.contains("Ubuntu 18.04") && said[0].message.contains("24.04"), "{}", said[0].message);
        let said = check(
            "FROM nvidia/cuda\nFROM nvidia/cuda:latest AS b\nFROM nvidia/cuda@sha256:00\n",
            &Built::default(),
            TODAY,
        );
        assert_eq!(said.iter().map(|one| one.range.start.line).collect::<Vec<_>>(), [0, 1]);
        assert!(said[0].message.contains("such as nvidia/cuda:13.4.2-cudnn-devel-ubuntu24.04."), "{}", said[0].message);
        assert_eq!(check("FROM old\nFROM scratch\n", &Built::default(), TODAY), []);
    }

    #[test]
    fn a_driver_that_is_too_old_is_said_of_the_stages_that_are_built() {
        let text = "ARG CUDA=12.4.1\nFROM nvidia/cuda:${CUDA}-devel-ubuntu22.04 AS build\n\
            FROM nvidia/cuda:13.0.3-base-ubuntu24.04 AS newer\nFROM python:3.13 AS last\nCOPY --from=build /a /a\n";
        let past = "base_past_its_life";
        assert_eq!(found(text, &old()), [at(1, DRIVER)]);
        assert_eq!(found(text, &Built::default()), [], "nobody knows the driver");
        let newer = Built { target: Some("newer".to_owned()), ..old() };
        assert_eq!(found(text, &newer), [at(2, DRIVER)]);
        let given = Built { args: BTreeMap::from([("CUDA".to_owned(), "11.8.0".to_owned())]), ..old() };
        assert_eq!(found(text, &given), [at(1, past)]);
        let said = check(text, &old(), TODAY).remove(0).message;
        assert!(said.contains("needs driver >= 525.60.13, this is 470.57.02"), "{said}");
        assert_eq!(found("FROM nvidia/cuda:10.2-devel-ubuntu18.04\n", &Built::default()), [at(0, past)]);
    }

    #[test]
    fn what_an_image_brings_is_explained() {
        let text = "FROM nvidia/cuda:12.4.1-devel-ubuntu22.04\nRUN true\nFROM python:3.13\n";
        let of = |line, built: &Built| hover(text, Position::new(line, 3), built);
        let said = of(0, &old()).expect("something");
        assert!(
            said.contains("CUDA 12.4, needs driver >= 525.60.13.") && said.contains("470.57.02, is too old"),
            "{said}"
        );
        assert!(of(0, &Built::default()).is_some_and(|said| !said.contains("The driver here")));
        assert_eq!((of(1, &old()), of(2, &old())), (None, None));
    }
}
