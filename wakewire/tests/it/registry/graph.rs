//! Composites: whom they name, and what they hand down.

use wakewire::{CompositePattern, LazyConfig, SinkType};

use super::{faults, good, lines};

#[test]
fn a_composites_lazy_is_for_targets_that_have_none() {
    let registry = good(
        "[services.all]\ntype = \"composite\"\npattern = \"failover\"\ntargets = [\"inner\", \"b\"]\n\
         lazy = { max_retries = 9, jitter = 0 }\n\
         [services.inner]\ntype = \"composite\"\npattern = \"round_robin\"\ntargets = [\"a\"]\n\
         [services.a]\ntype = \"direct\"\nendpoint = \"tcp://a:1\"\n\
         [services.b]\ntype = \"direct\"\nendpoint = \"tcp://b:1\"\nlazy.max_retries = 2\n",
    );
    let lazy = |name| {
        let lazy = registry
            .lookup(name)
            .unwrap()
            .lazy_config(LazyConfig::default());
        (lazy.max_retries, lazy.jitter)
    };
    assert_eq!(lazy("a"), (9, 0.0));
    assert_eq!(lazy("b"), (2, 0.2));
    assert_eq!(registry.names(), ["all", "inner", "a", "b"]);
    let SinkType::Composite { pattern, targets } = &registry.lookup("all").unwrap().kind else {
        panic!("not a composite")
    };
    assert_eq!((*pattern, targets.len()), (CompositePattern::Failover, 2));
}

#[test]
fn two_composites_that_disagree_about_a_target_are_refused() {
    let found = faults(
        "[services.p]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [\"a\"]\nlazy.jitter = 0\n\
         [services.q]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [\"a\"]\nlazy.jitter = 1\n\
         [services.a]\ntype = \"direct\"\nendpoint = \"tcp://a:1\"\n",
    );
    assert_eq!(
        lines(&found),
        [
            "11:11: services.a.lazy: it is a target of `p`, `q`, whose `lazy` differ; \
          hint: give it a `lazy` of its own"
        ]
    );
}

fn composites(edges: &[(&str, &[&str])]) -> String {
    let mut text = String::from("[services.leaf]\ntype = \"direct\"\nendpoint = \"tcp://h:1\"\n");
    for (name, targets) in edges {
        text += &format!(
            "[services.\"{name}\"]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = {targets:?}\n"
        );
    }
    text
}

#[test]
fn a_cycle_is_drawn_once_wherever_one_comes_from() {
    for (edges, cycles) in [
        (&[("a", ["a"].as_slice())][..], &["a → a"][..]),
        (
            &[("p", &["b"]), ("a", &["b"]), ("b", &["c"]), ("c", &["a"])],
            &["a → b → c → a"],
        ),
        (
            &[("a", &["b", "c"]), ("b", &["a"]), ("c", &["a"])],
            &["a → b → a", "a → c → a"],
        ),
        (
            &[
                ("p", &["x", "y"]),
                ("x", &["y", "leaf"]),
                ("y", &["x"]),
                ("q", &["p"]),
            ],
            &["x → y → x"],
        ),
    ] {
        let found = lines(&faults(&composites(edges)));
        let drawn: Vec<_> = found
            .iter()
            .map(|line| {
                line.split("go round: ")
                    .nth(1)
                    .unwrap()
                    .split(';')
                    .next()
                    .unwrap()
            })
            .collect();
        assert_eq!(drawn, cycles, "{found:?}");
    }
}

#[test]
fn targets_must_exist_once_and_be_some() {
    let found = lines(&faults(&composites(&[
        ("a", &["laef", "leaf", "leaf"]),
        ("b", &[]),
    ])));
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(
        found[0],
        "7:12: services.a.targets: there is no service `laef`; there are `leaf`, `b`; hint: did you mean `leaf`?"
    );
    assert!(
        found[1].contains("7:28: services.a.targets: `leaf` is named twice"),
        "{found:?}"
    );
    assert!(
        found[2].contains("11:11: services.b.targets: a composite without targets"),
        "{found:?}"
    );
    let twice = composites(&[("a", &["leaf", "leaf"])]).replace("fanout", "round_robin");
    assert_eq!(good(&twice).warnings().len(), 1);
}

#[test]
fn nesting_has_a_limit_and_never_overflows_the_stack() {
    let chain = |length: usize| {
        let names: Vec<_> = (0..length).map(|at| format!("c{at:05}")).collect();
        let mut text = composites(&[]);
        for (at, name) in names.iter().enumerate() {
            let target = names.get(at + 1).map_or("leaf", String::as_str);
            text += &format!(
                "[services.{name}]\ntype = \"composite\"\npattern = \"failover\"\ntargets = [\"{target}\"]\n"
            );
        }
        text
    };
    good(&chain(64));
    for length in [65, 500, 20_000] {
        let found = lines(&faults(&chain(length)));
        assert_eq!(found.len(), 1, "{length}: {found:?}");
        assert!(
            found[0].contains("65 deep; at most 64 are taken"),
            "{found:?}"
        );
    }
    let round = chain(20_000).replace("\"leaf\"", "\"c00000\"");
    let found = lines(&faults(&round));
    assert_eq!(found.len(), 1);
    assert!(found[0].len() < 2000, "{}", found[0].len());
    let inline = format!(
        "[services.a]\nlazy = {}1{}\n",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert!(!faults(&inline).is_empty());
}

#[test]
fn diamonds_of_diamonds_are_refused_before_they_multiply() {
    let mut text = composites(&[]);
    for level in 0..60 {
        let below = |side| {
            if level == 0 {
                "leaf".to_owned()
            } else {
                format!("{side}{:02}", level - 1)
            }
        };
        for side in ["l", "r"] {
            let targets = if level == 0 {
                "\"leaf\"".to_owned()
            } else {
                format!("{:?}, {:?}", below("l"), below("r"))
            };
            text += &format!(
                "[services.{side}{level:02}]\ntype = \"composite\"\npattern = \"fanout\"\ntargets = [{targets}]\n"
            );
        }
    }
    let found = lines(&faults(&text));
    assert!(
        found[0].contains("sent on more than 4096 times"),
        "{found:?}"
    );
}
