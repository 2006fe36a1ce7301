use super::{COMMANDS, CommandId, lookup};

#[test]
fn every_command_is_found_by_its_name_in_either_case() {
    for command in &COMMANDS {
        assert_eq!(lookup(command.name.as_bytes()).map(|row| row.id), Some(command.id));
        assert_eq!(lookup(command.name.to_uppercase().as_bytes()).map(|row| row.id), Some(command.id));
    }
    assert_eq!(lookup(b"Event.Add").map(|row| row.id), Some(CommandId::EventAdd));
    for unknown in ["", "event.ad", "event.addd", "event\x0eadd", "client|id", "get", "windowwmget"] {
        assert!(lookup(unknown.as_bytes()).is_none(), "{unknown:?}");
    }
}
