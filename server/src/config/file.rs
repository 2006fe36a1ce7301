//! Settings from a TOML file: keys are the names of [`SETTINGS`](super::SETTINGS).

use std::path::Path;

use super::Config;

pub(super) fn load(config: &mut Config, path: &Path) -> Result<(), String> {
    let at = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {at}: {error}"))?;
    apply(config, &text).map_err(|reason| format!("{at}: {reason}"))
}

/// Applies every key of the text, in the file's order.
pub(super) fn apply(config: &mut Config, text: &str) -> Result<(), String> {
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
    for (name, value) in &table {
        let value = plain_text(value).map_err(|reason| format!("{name}: {reason}"))?;
        config.set(name, &value)?;
    }
    Ok(())
}

fn plain_text(value: &toml::Value) -> Result<String, String> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(number) => Ok(number.to_string()),
        toml::Value::Boolean(on) => Ok(if *on { "yes" } else { "no" }.to_owned()),
        toml::Value::Array(items) => {
            Ok(items.iter().map(plain_text).collect::<Result<Vec<_>, _>>()?.join(","))
        }
        other => Err(format!("a {} does not fit here", other.type_str())),
    }
}
