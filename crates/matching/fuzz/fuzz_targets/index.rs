//! An event pattern and the bytes of a payload, apart by a NUL: what `serde_json` reads, the index decides as looking
//! at everything does; what the index can't decide, `serde_json` doesn't read.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use triggerline_matching::{Index, Pattern, TooLarge};
use triggerline_types::{EventType, EventTypePattern};

fuzz_target!(|bytes: &[u8]| {
    let Some(nul) = bytes.iter().position(|byte| *byte == 0) else { return };
    let (pattern, payload) = (&bytes[..nul], &bytes[nul + 1..]);
    let Ok(Ok(pattern)) = std::str::from_utf8(pattern).map(Pattern::parse_text) else { return };
    let mut index = Index::new();
    match index.insert((), &[EventTypePattern::every()], Some(&pattern.condition())) {
        Ok(()) => {}
        Err(TooLarge) => panic!("whatever is parsed fits an index"),
    }
    let event_type = EventType::parse("t").expect("a letter is an event type");
    let found = index.matching(&event_type, payload);
    if let Ok(payload) = serde_json::from_slice::<Value>(payload) {
        let found = found.expect("what serde_json reads can be decided");
        assert_eq!(!found.is_empty(), pattern.matches(&payload));
    }
    assert!(index.remove(&()));
    assert!(index.is_empty());
});
