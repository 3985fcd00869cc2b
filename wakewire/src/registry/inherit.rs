//! A composite's `lazy` becomes that of the targets that set nothing themselves. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};

use super::diagnostic::enumerated;
use super::findings::Findings;
use super::lazy::LazySettings;
use super::raw::RawService;
use super::service::{ServiceConfig, SinkType};

/// Hands every composite's own settings down, through composites that have none.
///
/// Done here, before any sink is made, so that a service connects the same way whichever of its names is
/// asked for first. One sink can connect in one way only: two composites that disagree are refused.
pub(super) fn lazy(services: &mut [(&RawService, Option<ServiceConfig>)], findings: &mut Findings) {
    let givers: Vec<_> = services
        .iter()
        .filter_map(|(raw, config)| Some((*raw, config.as_ref()?)))
        .filter(|(_, config)| !config.lazy.is_empty() && targets(config).next().is_some())
        .collect();
    if givers.is_empty() {
        return;
    }
    let mut inherited: BTreeMap<&str, (&str, LazySettings)> = BTreeMap::new();
    let index: BTreeMap<&str, (&RawService, &ServiceConfig)> = services
        .iter()
        .filter_map(|(raw, config)| Some((raw.name.as_str(), (*raw, config.as_ref()?))))
        .collect();
    let mut contested = BTreeSet::new();
    for (raw, config) in givers {
        let mut open: Vec<&str> = targets(config).collect();
        while let Some(name) = open.pop() {
            let Some((heir, below)) = index.get(name).filter(|(_, heir)| heir.lazy.is_empty())
            else {
                continue;
            };
            let Some((giver, lazy)) = inherited.get(name) else {
                inherited.insert(&heir.name, (&raw.name, config.lazy.clone()));
                open.extend(targets(below));
                continue;
            };
            // What lies below was reached the first time; that it differs too need not be said.
            if *lazy != config.lazy && contested.insert(name) {
                findings.wrong(heir.span.clone(), heir.path("lazy"), || {
                    let both = enumerated(&[giver, &raw.name], 2);
                    let message = format!("it is a target of {both}, whose `lazy` differ");
                    (message, Some("give it a `lazy` of its own".to_owned()))
                });
            }
        }
    }
    let inherited: BTreeMap<String, LazySettings> = inherited
        .into_iter()
        .map(|(name, (_, lazy))| (name.to_owned(), lazy))
        .collect();
    for (raw, config) in services {
        if let (Some(config), Some(lazy)) = (config, inherited.get(&raw.name)) {
            config.lazy.clone_from(lazy);
        }
    }
}

fn targets(config: &ServiceConfig) -> impl Iterator<Item = &str> {
    let targets = match &config.kind {
        SinkType::Composite { targets, .. } => targets.as_slice(),
        SinkType::Relay | SinkType::Direct => &[],
    };
    targets.iter().map(String::as_str)
}
