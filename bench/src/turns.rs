//! Who is measured when: A B A B …, so that what the machine does in a round hits all of them.

use crate::error::BenchError;

/// Measures entrants in turns: in each round every one of them once, in their order, one after the other. What `measure` gives for
/// (round, entrant) is listed by entrant.
///
/// # Errors
///
/// The first that `measure` gives; nothing is measured after it.
pub fn in_turns<T>(
    rounds: usize,
    entrants: usize,
    mut measure: impl FnMut(usize, usize) -> Result<T, BenchError>,
) -> Result<Vec<Vec<T>>, BenchError> {
    let mut found: Vec<Vec<T>> = (0..entrants).map(|_| Vec::with_capacity(rounds)).collect();
    for round in 0..rounds {
        for (entrant, found) in found.iter_mut().enumerate() {
            found.push(measure(round, entrant)?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_has_every_entrant_once_in_their_order() {
        let mut order = Vec::new();
        let found = in_turns(3, 2, |round, entrant| {
            order.push((round, ["A", "B"][entrant]));
            Ok(10 * round + entrant)
        });
        assert_eq!(order, [(0, "A"), (0, "B"), (1, "A"), (1, "B"), (2, "A"), (2, "B")]);
        assert_eq!(found.unwrap(), [[0, 10, 20], [1, 11, 21]]);
    }

    #[test]
    fn nothing_is_measured_after_a_failure() {
        let mut measured = 0;
        let outcome = in_turns(3, 2, |round, entrant| {
            measured += 1;
            if (round, entrant) == (1, 0) { Err(BenchError::Server("gone".to_owned())) } else { Ok(()) }
        });
        assert!(outcome.is_err());
        assert_eq!(measured, 3);
    }
}
