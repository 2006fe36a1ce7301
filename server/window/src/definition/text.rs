//! A definition as text: the arguments of STREAM.CREATE behind the name, which parse back to the same definition.

use std::fmt::Write as _;

use super::{ClockMode, Definition, FieldType, SkewAction};
use crate::aggregate::Length;
use crate::duration;

impl FieldType {
    /// The type's keyword.
    pub fn keyword(self) -> &'static str {
        match self {
            Self::Float => "FLOAT",
            Self::Int => "INT",
            Self::String => "STRING",
        }
    }
}

impl Definition {
    /// The definition as the arguments of STREAM.CREATE that follow the stream's name, every default written out.
    pub fn to_args_text(&self) -> String {
        let mut text = String::new();
        for (_, section) in self.sections() {
            if !section.is_empty() {
                if !text.is_empty() {
                    text.push(' ');
                }
                text.push_str(&section);
            }
        }
        text
    }

    /// The sections of the text, each with its keyword; empty where nothing is said.
    pub(super) fn sections(&self) -> Vec<(&'static str, String)> {
        vec![
            ("FIELDS", self.fields_text()),
            ("WINDOWS", self.windows_text()),
            ("AGGREGATE", self.aggregates_text()),
            ("CLOCK", if self.clock == ClockMode::Event { "CLOCK EVENT" } else { "CLOCK WALL" }.to_owned()),
            (
                "LATENESS",
                self.lateness_ms.map_or_else(String::new, |ms| format!("LATENESS {}", duration::format(ms))),
            ),
            ("SKEW", {
                let action = if self.skew_action == SkewAction::Clamp { "CLAMP" } else { "REJECT" };
                format!("SKEW {} {action}", duration::format(self.skew_ms))
            }),
            ("DEDUP", self.dedup_ms.map_or_else(String::new, |ms| format!("DEDUP {}", duration::format(ms)))),
            ("RETAIN", self.retain_text()),
            ("TTL", self.ttl_ms.map_or_else(String::new, |ms| format!("TTL {}", duration::format(ms)))),
        ]
    }

    fn fields_text(&self) -> String {
        if self.fields.is_empty() {
            return String::new();
        }
        self.fields.iter().fold("FIELDS".to_owned(), |mut text, field| {
            let _ = write!(text, " {} {}", field.name, field.kind.keyword());
            text
        })
    }

    fn windows_text(&self) -> String {
        self.windows.iter().fold("WINDOWS".to_owned(), |mut text, window| {
            let _ = match window.length {
                Length::All => write!(text, " all"),
                length @ Length::Finite(_) => write!(text, " {length}@{}", duration::format(window.width_ms)),
            };
            text
        })
    }

    pub(super) fn aggregates_text(&self) -> String {
        self.aggregates.iter().fold("AGGREGATE".to_owned(), |mut text, spec| {
            let _ = write!(text, " {}", spec.aggregate.text(&self.fields));
            for length in spec.lengths.iter().flatten() {
                let _ = write!(text, ":{length}");
            }
            text
        })
    }

    fn retain_text(&self) -> String {
        if self.retain.is_empty() {
            return String::new();
        }
        self.retain.iter().fold("RETAIN".to_owned(), |mut text, retain| {
            let _ = write!(text, " {}", duration::format(retain.retain_ms));
            if let Some(width_ms) = retain.width_ms {
                let _ = write!(text, "@{}", duration::format(width_ms));
            }
            text
        })
    }
}
