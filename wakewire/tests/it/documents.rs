//! `docs/connections.md` shows the example that is run, and every key and variable with its default.

use std::collections::BTreeSet;

use wakewire::connection::ConnectionConfig;

fn read(path: &str) -> String {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_page_shows_the_example_that_is_run() {
    let example = read("examples/requests.rs");
    let (_, program) = example.split_once("shows what it does\")]\n\n").unwrap();
    let page = read("../docs/connections.md");
    assert!(page.contains(&format!("```rust\n{program}```\n")));
}

#[test]
fn every_key_and_variable_is_in_the_page() {
    let page = read("../docs/connections.md");
    let (_, table) = page.split_once("\n| key | variable |").unwrap();
    let (table, _) = table.split_once("\n\n").unwrap();
    let (mut variables, mut defaults) = (BTreeSet::new(), "hosts = ['a']\n".to_owned());
    for row in table.lines().skip(2) {
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim()).collect();
        let [_, key, variable, default, ..] = cells[..] else {
            panic!("{row}");
        };
        let variable = variable.split('`').nth(1).unwrap();
        let key = key.trim_matches('`');
        assert_eq!(
            variable,
            format!("WAKEWIRE_{}", key.to_uppercase().replace('.', "_"))
        );
        variables.insert(variable.trim_start_matches("WAKEWIRE_").to_owned());
        let default = default.trim_matches('`');
        if default == "false" || default.parse::<f64>().is_ok() {
            defaults += &format!("{key} = {default}\n");
        }
    }
    let source = read("src/connection/load.rs");
    let known = source.lines().filter_map(|line| {
        let (name, _) = line.trim().strip_prefix('"')?.split_once("\" =>")?;
        name.starts_with(char::is_uppercase)
            .then(|| name.to_owned())
    });
    assert_eq!(variables, known.collect());
    // Each number is the default, under its key.
    assert_eq!(defaults.lines().count(), 1 + 2 + 5 + 4);
    let written = ConnectionConfig::from_toml(&defaults).unwrap();
    let default = ConnectionConfig {
        hosts: vec!["a".to_owned()],
        ..ConnectionConfig::default()
    };
    assert_eq!(format!("{written:?}"), format!("{default:?}"));
}
