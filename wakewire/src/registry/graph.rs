//! Composites as a graph: targets that exist, no cycle, not too deep. No I/O, no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use super::diagnostic::{enumerated, shown};
use super::findings::{Findings, Said};
use super::key_path::KeyPath;
use super::raw::RawService;
use super::service::CompositePattern;
use super::value::Value;
use super::{limits, nearest};

/// Checks what every composite names. Works on what was written, so that a fault elsewhere hides none here;
/// without recursion, so that no nesting is too deep for the stack.
pub(super) fn check(services: &[RawService], findings: &mut Findings) {
    if !services.iter().any(|service| service.has("targets")) {
        return;
    }
    let index: BTreeMap<&str, usize> = services
        .iter()
        .enumerate()
        .map(|(at, service)| (service.name.as_str(), at))
        .collect();
    let nodes: Vec<Node<'_>> = services
        .iter()
        .map(|service| node(service, &index, findings))
        .collect();
    Walk::new(services, &nodes).run(findings);
}

/// A service and the places of those that it sends on to.
struct Node<'r> {
    targets: Vec<(usize, &'r Range<usize>)>,
    sends_to_all: bool,
}

fn node<'r>(
    service: &'r RawService,
    index: &BTreeMap<&str, usize>,
    findings: &mut Findings,
) -> Node<'r> {
    let pattern = match service.value("pattern") {
        Some(Value::Text(text)) => text.as_str(),
        _ => "",
    };
    let sends_to_all = pattern == CompositePattern::Fanout.name();
    let mut targets = Vec::new();
    let Some(Value::Names(names)) = service.value("targets") else {
        return Node {
            targets,
            sends_to_all,
        };
    };
    let path = service.path("targets");
    let mut seen = BTreeSet::new();
    for (name, span) in names {
        if !seen.insert(name) {
            repeated(name, span, pattern, path, findings);
            continue;
        }
        match index.get(name.as_str()) {
            Some(&target) => targets.push((target, span)),
            None => findings.absent(span.clone(), path, || {
                let others = index.keys().copied().filter(|other| *other != service.name);
                missing(name, others, index.len() <= COMPARED)
            }),
        }
    }
    Node {
        targets,
        sends_to_all,
    }
}

fn repeated(
    name: &str,
    span: &Range<usize>,
    pattern: &str,
    path: KeyPath<'_>,
    findings: &mut Findings,
) {
    let message = format!("`{}` is named twice", shown(name));
    let hint = Some("name every target once".to_owned());
    if pattern == CompositePattern::Fanout.name() {
        findings.wrong(span.clone(), path, || {
            (format!("{message}: it would get every message twice"), hint)
        });
    } else if pattern == CompositePattern::RoundRobin.name() {
        findings.odd(span.clone(), path, || {
            (format!("{message}: it gets that much more"), hint)
        });
    } else {
        findings.odd(span.clone(), path, || {
            (
                format!("{message}: what failed is tried again at once"),
                hint,
            )
        });
    }
}

/// Says that a name is not there, and which are: nearest first, unless that takes too long.
pub(super) fn missing<'n>(
    name: &str,
    names: impl Iterator<Item = &'n str> + Clone,
    compare: bool,
) -> Said {
    let all = names.clone().count();
    let listed = if compare {
        nearest::ranked(name, names, LISTED)
    } else {
        names.take(LISTED).collect()
    };
    let message = match all {
        0 => format!("there is no service `{}`", shown(name)),
        _ => format!(
            "there is no service `{}`; there are {}",
            shown(name),
            enumerated(&listed, all)
        ),
    };
    let hint = match nearest::nearest(name, listed.iter().copied()) {
        Some(near) => format!("did you mean `{}`?", shown(near)),
        None => "write the name of a service of this file".to_owned(),
    };
    (message, Some(hint))
}

/// A walk down all composites, depth first.
struct Walk<'w, 'r> {
    services: &'w [RawService],
    nodes: &'w [Node<'r>],
    state: Vec<State>,
    /// The way from the root to here, and which target comes next at each.
    way: Vec<(usize, usize)>,
    cycles: BTreeSet<Vec<usize>>,
}

/// What lies below a service: how deep, and how many copies of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Below {
    depth: usize,
    copies: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    New,
    OnTheWay,
    /// `None` where a cycle lies below: it has no depth, and has been said.
    Done {
        below: Option<Below>,
    },
}

impl<'w, 'r> Walk<'w, 'r> {
    fn new(services: &'w [RawService], nodes: &'w [Node<'r>]) -> Self {
        Self {
            services,
            nodes,
            state: vec![State::New; nodes.len()],
            way: Vec::new(),
            cycles: BTreeSet::new(),
        }
    }

    fn run(&mut self, findings: &mut Findings) {
        for root in 0..self.nodes.len() {
            if self.state[root] == State::New {
                self.enter(root);
            }
            while let Some((node, next)) = self.way.last_mut() {
                let (here, target) = (*node, self.nodes[*node].targets.get(*next));
                *next += 1;
                let Some(&(target, _)) = target else {
                    self.way.pop();
                    self.leave(here, findings);
                    continue;
                };
                match self.state[target] {
                    State::New => self.enter(target),
                    State::OnTheWay => self.close(target, findings),
                    State::Done { .. } => {}
                }
            }
        }
    }

    fn enter(&mut self, node: usize) {
        self.state[node] = State::OnTheWay;
        self.way.push((node, 0));
    }

    /// Looks at what was found below a composite.
    fn leave(&mut self, node: usize, findings: &mut Findings) {
        let below = self.below(node).map(|below| {
            let service = &self.services[node];
            let (span, path) = (service.span_of("targets"), service.path("targets"));
            // Only where the limit is first crossed: those above cannot help it.
            if below.depth == limits::DEPTH + 1 {
                findings.wrong(span.clone(), path, || {
                    let message = format!(
                        "composites within composites, {} deep; at most {} are taken",
                        below.depth,
                        limits::DEPTH
                    );
                    let hint = "name the innermost targets directly".to_owned();
                    (message, Some(hint))
                });
            }
            let copies = below.copies;
            if copies > limits::COPIES {
                findings.wrong(span, path, || {
                    let message = format!(
                        "one message would be sent on more than {} times",
                        limits::COPIES
                    );
                    let hint = "name each target once, not through several fan-outs".to_owned();
                    (message, Some(hint))
                });
                return Below { copies: 1, ..below };
            }
            below
        });
        self.state[node] = State::Done { below };
    }

    fn below(&self, node: usize) -> Option<Below> {
        let node = &self.nodes[node];
        let mut sum = Below {
            depth: 0,
            copies: 0,
        };
        for (target, _) in &node.targets {
            let State::Done { below } = self.state[*target] else {
                return None;
            };
            let below = below?;
            sum.depth = sum.depth.max(below.depth + 1);
            sum.copies = if node.sends_to_all {
                sum.copies.saturating_add(below.copies)
            } else {
                sum.copies.max(below.copies)
            };
        }
        sum.copies = sum.copies.max(1);
        Some(sum)
    }

    /// Reports the cycle that a target closes, unless it has been.
    fn close(&mut self, target: usize, findings: &mut Findings) {
        if self.cycles.len() >= limits::FAULTS {
            return;
        }
        let start = self
            .way
            .iter()
            .position(|(node, _)| *node == target)
            .unwrap_or_default();
        let mut cycle: Vec<usize> = self.way[start..].iter().map(|(node, _)| *node).collect();
        // Wherever one came from, the cycle begins at its first member in the file.
        let least = (0..cycle.len()).min_by_key(|&at| cycle[at]).unwrap_or(0);
        cycle.rotate_left(least);
        if !self.cycles.insert(cycle.clone()) {
            return;
        }
        let first = &self.services[cycle[0]];
        let second = cycle[1 % cycle.len()];
        let span = self.nodes[cycle[0]]
            .targets
            .iter()
            .find(|(target, _)| *target == second)
            .map_or_else(|| first.span.clone(), |(_, span)| (*span).clone());
        findings.wrong(span, first.path("targets"), || {
            let hint = "take one of these out of the other's targets".to_owned();
            (
                format!("these composites go round: {}", self.path(&cycle)),
                Some(hint),
            )
        });
    }

    fn path(&self, cycle: &[usize]) -> String {
        let name = |node: &usize| shown(&self.services[*node].name);
        let mut names: Vec<_> = cycle.iter().take(limits::DEPTH).map(name).collect();
        if cycle.len() > limits::DEPTH {
            names.push(format!("({} more)", cycle.len() - limits::DEPTH));
        }
        names.push(name(&cycle[0]));
        names.join(" → ")
    }
}

/// How many names are listed in a message.
const LISTED: usize = 10;

/// With so many names a thousand wrong ones are compared in a second; with more they are not.
const COMPARED: usize = 2000;
