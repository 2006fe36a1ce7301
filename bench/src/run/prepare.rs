//! What a server is asked before a run: its streams, the functions in Lua, how many entities it holds.

use super::Server;
use crate::control::Control;
use crate::error::BenchError;
use crate::workload::{SCRIPT_LIBRARY, STREAM, STREAM_DEFINITION, Target};
use crate::workload_file::WorkloadFile;

/// Makes a server ready: creates the stream that Windrow's modes use, loads the functions in Lua.
///
/// # Errors
///
/// The server refuses.
pub fn prepare(server: &Server) -> Result<(), BenchError> {
    let args = match server.target {
        Target::Windrow => {
            ["STREAM.CREATE", STREAM].into_iter().chain(STREAM_DEFINITION.split(' ')).collect()
        }
        Target::Lua => vec!["FUNCTION", "LOAD", "REPLACE", SCRIPT_LIBRARY],
        Target::Redis | Target::Hash | Target::Ts | Target::Null => return Ok(()),
    };
    Control::connect(&server.addr, &server.greeting)?.expect(&args)?;
    Ok(())
}

/// Creates the streams of a workload file; those that are there with the same definition stay.
///
/// # Errors
///
/// The server refuses.
pub fn create_streams(server: &Server, file: &WorkloadFile) -> Result<(), BenchError> {
    if server.target != Target::Windrow {
        return Ok(());
    }
    let mut control = Control::connect(&server.addr, &server.greeting)?;
    for stream in &file.stream {
        let words = stream.definition.split_whitespace();
        let args: Vec<&str> = ["STREAM.CREATE", &stream.name].into_iter().chain(words).collect();
        control.expect(&args)?;
    }
    Ok(())
}

/// How many entities of a space of names the server holds: in the stream that holds most of them.
///
/// # Errors
///
/// The server refuses, or its answer is not what STREAM.INFO gives.
pub fn count_entities(server: &Server, file: &WorkloadFile, names: &str) -> Result<u64, BenchError> {
    let mut control = Control::connect(&server.addr, &server.greeting)?;
    let mut most = 0;
    for plan in file.fill.iter().chain(&file.request).filter(|plan| plan.entities == names) {
        let reply = control.expect(&["STREAM.INFO", &plan.stream])?;
        let count = entities_of_info(&reply).ok_or_else(|| {
            BenchError::Server(format!(
                "STREAM.INFO {} does not say how many entities there are",
                plan.stream
            ))
        })?;
        most = most.max(count);
    }
    Ok(most)
}

/// The number of entities in the reply to STREAM.INFO.
fn entities_of_info(reply: &str) -> Option<u64> {
    let (_, number) = reply.split_once("$8\r\nentities\r\n:")?;
    number.split_once("\r\n")?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_says_how_many_entities_there_are() {
        let reply =
            "*6\r\n$4\r\nname\r\n$8\r\nproducts\r\n$8\r\nentities\r\n:541000\r\n$5\r\nbytes\r\n:7\r\n";
        assert_eq!(entities_of_info(reply), Some(541_000));
        assert_eq!(entities_of_info("*0\r\n"), None);
    }
}
