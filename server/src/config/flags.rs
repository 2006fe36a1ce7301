//! The command line: one long flag per setting, plus `--config FILE`.

use std::path::PathBuf;

use clap::{Arg, ArgMatches};

use super::{Config, SETTINGS};

/// Not a setting: nobody should meet it by chance.
const UNLOGGED: &str = "unlogged-for-measurement";

/// The flags of `windrow serve`.
pub fn arguments() -> impl Iterator<Item = Arg> {
    let defaults = Config::default();
    let file = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("TOML file with settings; flags override it");
    let unlogged =
        Arg::new(UNLOGGED).long(UNLOGGED).action(clap::ArgAction::SetTrue).hide(true).help(
            "Log nothing: what is acknowledged is lost with the process. To measure what the log costs",
        );
    [file, unlogged].into_iter().chain(SETTINGS.iter().map(move |setting| {
        let default = (setting.get)(&defaults);
        let shown = if default.is_empty() { "none".to_owned() } else { default };
        Arg::new(setting.name)
            .long(setting.name)
            .value_name(setting.value_name)
            .allow_negative_numbers(true)
            .help(format!("{} [default: {shown}]", setting.help))
    }))
}

/// The configuration that a parsed command line asks for: defaults, then the file, then flags.
pub fn from_matches(matches: &ArgMatches) -> Result<Config, String> {
    let mut config = Config::default();
    if let Some(path) = matches.get_one::<PathBuf>("config") {
        config.load_file(path)?;
    }
    for setting in SETTINGS {
        if let Some(text) = matches.get_one::<String>(setting.name) {
            config.set(setting.name, text)?;
        }
    }
    config.is_unlogged = matches.get_flag(UNLOGGED);
    if config.is_unlogged && config.save_s > 0 {
        return Err(format!("--{UNLOGGED} needs --save 0: an image waits for the log"));
    }
    config.validate()?;
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments_given: &[&str]) -> Result<Config, String> {
        let command = clap::Command::new("serve").args(arguments());
        from_matches(&command.try_get_matches_from(arguments_given).map_err(|error| error.to_string())?)
    }

    #[test]
    fn flags_override_the_file() {
        let path = std::env::temp_dir().join(format!("windrow-flags-{}.toml", std::process::id()));
        std::fs::write(&path, "port = 1111\ntimeout = 5\n").unwrap();
        let config = parse(&["serve", "--config", path.to_str().unwrap(), "--port", "2222"]).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((config.port, config.timeout_s), (2222, 5));
    }

    #[test]
    fn a_negative_threshold_turns_the_slow_log_off() {
        let config = parse(&["serve", "--slowlog-log-slower-than", "-1", "--slowlog-max-len", "7"]).unwrap();
        assert_eq!((config.slowlog_slower_than_us, config.slowlog_len_max), (-1, 7));
        let error = parse(&["serve", "--slowlog-log-slower-than", "-2"]).unwrap_err();
        assert!(error.contains("slowlog-log-slower-than: '-2' is not a whole number"), "{error}");
    }

    #[test]
    fn several_addresses_can_be_bound() {
        let config = parse(&["serve", "--bind", "127.0.0.1,::1"]).unwrap();
        assert_eq!(config.bind.len(), 2);
    }

    #[test]
    fn a_log_too_small_for_its_segments_is_refused() {
        let error = parse(&["serve", "--shards", "2", "--log-max-bytes", "100mb"]).unwrap_err();
        assert!(error.contains("log-max-bytes (100mb)") && error.contains("512mb"), "{error}");
        assert!(parse(&["serve", "--shards", "2", "--log-max-bytes", "512mb"]).is_ok());
    }

    #[test]
    fn images_and_log_are_kept_as_asked() {
        let config = parse(&["serve", "--save", "", "--images-kept", "5", "--log-retention", "90m"]).unwrap();
        assert_eq!((config.save_s, config.images_kept, config.log_retention_ms), (0, 5, 5_400_000));
        for (name, value) in [("--images-kept", "1"), ("--log-retention", "5"), ("--save-rate-limit", "1kb")]
        {
            let error = parse(&["serve", name, value]).unwrap_err();
            assert!(error.contains(&name[2..]) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_soft_limit_above_the_hard_one_is_refused() {
        let error = parse(&["serve", "--client-output-soft-limit", "1gb"]).unwrap_err();
        assert!(error.contains("hard"), "{error}");
    }

    #[test]
    fn a_server_that_logs_nothing_takes_no_images() {
        assert!(parse(&["serve", "--unlogged-for-measurement"]).unwrap_err().contains("--save 0"));
        assert!(parse(&["serve", "--unlogged-for-measurement", "--save", "0"]).unwrap().is_unlogged);
        assert!(!parse(&["serve"]).unwrap().is_unlogged);
    }
}
