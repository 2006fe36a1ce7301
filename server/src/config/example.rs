//! The commented example configuration, made from the table of settings. `server/windrow.example.toml` is this text.

use std::fmt::Write;

use super::setting::Kind;
use super::{Config, SETTINGS, Setting};

/// The example file: every setting with its explanation and default value.
#[must_use]
pub fn example_toml() -> String {
    let defaults = Config::default();
    let mut text = String::from(
        "# Windrow's settings, each with its default. Use: windrow serve --config windrow.toml\n\
         # A flag of the same name on the command line (--port 7379) overrides the file.\n\
         # CONFIG SET changes those marked (run time) while the server runs.\n",
    );
    let mut section = "";
    for setting in SETTINGS {
        if setting.section != section {
            section = setting.section;
            let _ = write!(text, "\n# ---- {section} ----\n");
        }
        let runtime = if setting.runtime { " (run time)" } else { "" };
        let _ = write!(
            text,
            "\n# {}{runtime}\n{} = {}\n",
            setting.help,
            setting.name,
            toml_text(setting, &(setting.get)(&defaults))
        );
    }
    text
}

fn toml_text(setting: &Setting, value: &str) -> String {
    match setting.kind {
        Kind::Number => value.to_owned(),
        Kind::Text => quoted(value),
        Kind::List => format!("[{}]", value.split(' ').map(quoted).collect::<Vec<_>>().join(", ")),
        Kind::Switch => (value == "yes").to_string(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    const EXAMPLE: &str = include_str!("../../windrow.example.toml");

    #[test]
    fn the_example_file_is_the_table_of_settings() {
        assert_eq!(EXAMPLE, example_toml(), "write config::example_toml() to server/windrow.example.toml");
    }

    #[test]
    fn every_flag_stands_in_the_example_file() {
        for argument in crate::config::arguments() {
            let name = argument.get_long().expect("every setting is a long flag").to_owned();
            // The one that names the file itself, and what is not for everyone.
            if name == "config" || argument.is_hide_set() {
                continue;
            }
            assert!(
                EXAMPLE.lines().any(|line| line.starts_with(&format!("{name} = "))),
                "--{name} is missing"
            );
        }
    }

    #[test]
    fn the_example_file_parses_to_the_defaults() {
        let mut config = Config { port: 1, shards: 7, timeout_s: 9, ..Config::default() };
        config.bind.clear();
        file::apply(&mut config, EXAMPLE).unwrap();
        assert_eq!(config, Config::default());
    }

    #[test]
    fn every_setting_reads_back_what_it_writes() {
        let defaults = Config::default();
        for setting in SETTINGS {
            let mut config = Config::default();
            (setting.set)(&mut config, &(setting.get)(&defaults)).unwrap();
            assert_eq!(config, defaults, "{}", setting.name);
        }
    }

    #[test]
    fn a_wrong_value_is_refused_by_setting_and_value() {
        let mut config = Config::default();
        let error = file::apply(&mut config, "port = 70000").unwrap_err();
        assert!(error.contains("port") && error.contains("70000"), "{error}");
        let error = file::apply(&mut config, "prot = 7").unwrap_err();
        assert!(error.contains("no setting 'prot'"), "{error}");
    }
}
