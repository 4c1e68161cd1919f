//! SIZE in all its forms, and what is reckoned from it.

use super::{assert_plain, text};
use dmtool::commands::resize::parse_growth;
use dmtool::observe::profile::low_water_for;
use dmtool::observe::samples::{Sample, seconds_to_full};
use dmtool::plan::resize::Growth;
use dmtool::units::{
    Amount, Bytes, DataBlocks, Extents, MetaBlocks, Sectors, is_above, parse_amount, parse_size, percent, reaches,
    share_and_rest, share_of,
};

pub fn sizes(data: &[u8]) {
    let text = text(data);
    for word in text.lines() {
        size(word);
        amount(word);
        growth(word);
    }
    let mut numbers = data.chunks(8).map(|chunk| chunk.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)));
    let mut next = || numbers.next().unwrap_or(u64::MAX);
    figures(next(), next(), next());
    let sample = |seconds, used, total| Sample { seconds, used: Bytes(used), total: Bytes(total) };
    let (before, now) = (sample(next(), next(), next()), sample(next(), next(), next()));
    assert!(seconds_to_full(before, now).is_none_or(|seconds| seconds <= 30 * 24 * 3600));
}

/// Digits and at most one point between some of them, and a unit.
fn is_number_with(word: &str, units: &[&str]) -> bool {
    let (number, unit) = word.split_at(word.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(word.len()));
    let is_whole = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = match number.split_once('.') {
        Some((whole, fraction)) => is_whole(whole) && is_whole(fraction),
        None => is_whole(number),
    };
    is_number && units.contains(&&*unit.to_ascii_lowercase())
}

fn size(word: &str) {
    const UNITS: [&str; 17] =
        ["", "b", "k", "kb", "kib", "m", "mb", "mib", "g", "gb", "gib", "t", "tb", "tib", "p", "pb", "pib"];
    match parse_size(word) {
        Err(why) => assert_plain(&why),
        Ok(bytes) => {
            assert!(is_number_with(word, &UNITS), "{word:?} is no size");
            let (number, unit) = word.split_at(word.trim_end_matches(|c: char| c.is_ascii_alphabetic()).len());
            let power = "bkmgtp".find(unit.to_ascii_lowercase().get(..1).unwrap_or("b")).expect("a unit");
            let whole: u64 = number.split('.').next().expect("digits").parse().expect("it fits");
            assert_eq!(bytes.0 >> (10 * power), whole, "{word:?}");
            // For people it is rounded to two places.
            let shown = bytes.to_string().replace(' ', "");
            if !shown.ends_with("EiB") {
                let back = parse_size(&shown).expect("a size");
                assert!(back.0.abs_diff(bytes.0) <= bytes.0 / 200 + 1, "{word:?} is shown as {shown}");
            }
        }
    }
}

fn amount(word: &str) {
    match parse_amount(word) {
        Err(why) => assert_plain(&why),
        Ok(Amount::Bytes(bytes)) => assert_eq!((parse_size(word), bytes.0 > 0), (Ok(bytes), true)),
        Ok(share @ (Amount::PercentOfGroup(of) | Amount::PercentOfFree(of))) => {
            assert!((1..=100).contains(&of) && is_number_with(word, &["%vg", "%free"]), "{word:?} is no share");
            assert_eq!(parse_amount(&share.to_string()), Ok(share));
        }
    }
}

fn growth(word: &str) {
    let share = word.strip_prefix('+').unwrap_or(word);
    match parse_growth(word) {
        Err(why) => assert_plain(&why),
        Ok(Growth::Max) => assert_eq!(word, "max"),
        Ok(Growth::To(bytes)) => assert_eq!((parse_size(word), bytes.0 > 0), (Ok(bytes), true)),
        Ok(Growth::By(bytes)) => assert_eq!((parse_size(share), word == share), (Ok(bytes), false)),
        Ok(Growth::ByPercent(_) | Growth::ByPercentOfFree(_)) => {
            assert!(word != share && is_number_with(share, &["%", "%free"]), "{word:?} is no share");
        }
        Ok(Growth::PercentOfGroup(_)) => assert!(is_number_with(word, &["%vg"]), "{word:?} is no share"),
    }
}

fn figures(one: u64, other: u64, third: u64) {
    assert!(percent(one, other) >= 0.0);
    assert!(reaches(one, other, third) || !is_above(one, other, third));
    assert!(share_and_rest(one, third) - share_of(one, third) <= 1);
    let (size, unit) = (Bytes(one), Bytes(other));
    assert!(size.whole_extents(unit).bytes(unit) <= size && size.whole_sectors().bytes() <= size);
    assert!(other == 0 || size.extents_for(unit).bytes(unit) >= size);
    let sizes =
        [Sectors(one).bytes(), Extents(one).bytes(unit), DataBlocks(one).bytes(unit), MetaBlocks(one).bytes(), size];
    for size in sizes {
        assert_plain(&size.to_string());
    }
    assert!(low_water_for(size, unit, third).0 <= size.whole_extents(unit).0);
}
