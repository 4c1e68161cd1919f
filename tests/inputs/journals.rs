//! What dmtool has written down for a later run of its own: repairs, moves, teardowns, samples.

use super::{assert_plain, text};
use dmtool::observe::samples::Samples;
use dmtool::observe::{moved, repair, teardown};
use dmtool::report::clean;
use serde_json::Value;

pub fn journals(data: &[u8]) {
    let text = text(data);
    let value: Value = serde_json::from_str(&text).unwrap_or_default();
    let pool = value["pool"].as_str().unwrap_or("vg/pool");
    match repair::parse(&text, pool) {
        Err(why) => assert_plain(&clean(&why)),
        Ok(found) => {
            assert_eq!(repair::parse(&found.text().expect("a text"), pool).as_ref(), Ok(&found));
            assert_eq!(found.path().parent(), Some(repair::FOLDER.as_ref()));
            assert!(!found.device().is_empty());
            assert!(repair::parse(&text, "another/pool").is_err() || pool == "another/pool");
        }
    }
    match moved::parse(&text) {
        Err(why) => assert_plain(&clean(&why)),
        Ok(found) => assert_eq!(moved::parse(&found.text_of_file().expect("a text")).as_ref(), Ok(&found)),
    }
    let name = value["pool"].as_str().and_then(|name| dmtool::names::LvmName::parse(name).ok());
    let name = name.map_or_else(|| "vg-pool".to_owned(), |name| name.dm_name());
    match teardown::parse(&text, &name) {
        Err(why) => assert_plain(&clean(&why)),
        Ok(found) => {
            assert_eq!(teardown::parse(&found.text().expect("a text"), &name).as_ref(), Ok(&found));
            assert!(found.path().ends_with(format!("{name}.json")));
        }
    }
    if let Ok(samples) = serde_json::from_str::<Samples>(&text) {
        let again = serde_json::to_string(&samples).expect("a text");
        assert_eq!(serde_json::from_str::<Samples>(&again).ok(), Some(samples));
    }
}
