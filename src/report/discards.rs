//! The way of discards as people read it.

use super::clean_line;
use super::health::filled;
use crate::observe::Looked;
use crate::observe::discards::{Chain, Layer};
use crate::observe::pools::Pool;
use crate::observe::thin::Discard;
use serde_json::{Value, json};
use std::fmt::Write;

/// Where the lines about a layer stand.
const INDENT: usize = 6;

/// What a pool is set to, and each layer with what it does.
pub fn text(pool: &Pool, asked: Option<Discard>, chain: Option<&Looked<Chain>>) -> String {
    let word = asked.map_or("an unknown way with discards", Discard::word);
    let mut text = format!("{} is set to {word}", pool.name);
    match chain {
        None => text.push_str(", and is down"),
        Some(Err(why)) => {
            let _ = write!(text, "\n{}", filled(&format!("could not look: {why}"), INDENT));
        }
        Some(Ok(chain)) => chain.layers().iter().for_each(|layer| line(layer, &mut text)),
    }
    text
}

fn line(layer: &Layer, text: &mut String) {
    let on = if layer.passes { "go on" } else { "STOP " };
    // A name is not taken apart, so that it can be copied.
    let _ = write!(
        text,
        "\n  {on}  {:<11}  {}\n{}",
        layer.layer,
        clean_line(&layer.device),
        filled(&layer.why, INDENT + 3)
    );
}

/// The layers as JSON has them; null where the pool is down or they could not be looked at.
pub fn chain(chain: Option<&Looked<Chain>>) -> Value {
    match chain {
        Some(Ok(chain)) => json!(chain.layers()),
        _ => Value::Null,
    }
}
