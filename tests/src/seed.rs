//! Where the randomness of a test comes from: a new seed every time, printed, and taken again when asked.

/// The variable that repeats a run.
const VARIABLE: &str = "WINDROW_SEED";

/// The seed of this run. A failing test shows the line that repeats it.
///
/// # Panics
/// When `WINDROW_SEED` is set to something that is no seed.
pub fn seed() -> u64 {
    let seed = match std::env::var(VARIABLE) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{VARIABLE} is {text:?}, not a number")),
        Err(_) => rand::random(),
    };
    println!("to repeat: {VARIABLE}={seed}");
    seed
}
