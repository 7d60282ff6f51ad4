//! One vector. Its numbers stay as the provider wrote them: who wants them as text gets every digit.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Encoding;
use crate::DecodeError;
use crate::json::{Path, Value, write_string};

/// A vector: the text of a JSON list of numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Vector(String);

impl Vector {
    /// Takes a list of numbers, or base64 of little-endian f32.
    pub(super) fn read(value: Value<'_>, at: &Path<'_>) -> Result<Self, DecodeError> {
        if let Some(text) = value.text() {
            let bytes = STANDARD.decode(text.as_bytes()).ok().filter(|bytes| !bytes.is_empty() && bytes.len() % 4 == 0);
            let bytes = bytes.ok_or_else(|| DecodeError::new(at, "expected numbers, found a text that is no base64 of them"))?;
            let numbers = bytes.as_chunks::<4>().0.iter().map(|number| f32::from_le_bytes(*number));
            return Self::of(numbers).ok_or_else(|| DecodeError::new(at, "one of its numbers is none"));
        }
        let mut count = 0;
        for number in value.elements().ok_or_else(|| value.expected(at, "a list of numbers"))? {
            // What is larger than a f32 can hold is in no vector, and could not be told as base64.
            if number.f64().is_none() || !number.raw().parse().is_ok_and(f32::is_finite) {
                return Err(number.expected(&at.index(count), "a number that a f32 can hold"));
            }
            count += 1;
        }
        if count == 0 {
            return Err(DecodeError::new(at, "the vector is empty"));
        }
        Ok(Self(value.raw().to_owned()))
    }

    /// A vector of these numbers; none when one of them is infinite or no number.
    pub fn of(numbers: impl Iterator<Item = f32>) -> Option<Self> {
        let mut text = String::from("[");
        for number in numbers {
            if !number.is_finite() {
                return None;
            }
            if text.len() > 1 {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(&number).ok()?);
        }
        text.push(']');
        Some(Self(text))
    }

    /// The numbers.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        let numbers = Value::parse(&self.0).and_then(Value::elements).into_iter().flatten();
        // By way of f64 a number could be rounded twice.
        numbers.filter_map(|number| number.raw().parse().ok())
    }

    /// Appends it to a document.
    pub(super) fn write(&self, out: &mut Vec<u8>, encoding: Encoding) {
        match encoding {
            Encoding::Float => out.extend_from_slice(self.0.as_bytes()),
            Encoding::Base64 => {
                let bytes: Vec<u8> = self.numbers().flat_map(f32::to_le_bytes).collect();
                write_string(out, &STANDARD.encode(bytes));
            }
        }
    }
}
