//! Any text is an event pattern or is refused with a place in it; no payload that the pattern is explained on makes it
//! say something else than whether it matches.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use triggerline_matching::Pattern;

fuzz_target!(|text: &str| {
    match Pattern::parse_text(text) {
        Ok(pattern) => {
            // A pattern is JSON itself, so it is a payload as well.
            let payload: Value = serde_json::from_str(text).expect("a pattern is JSON");
            let explanation = pattern.explain(&payload);
            assert_eq!(explanation.matched, pattern.matches(&payload));
        }
        Err(error) => {
            if let Ok(written) = serde_json::from_str::<Value>(text) {
                assert!(written.pointer(&error.pointer).is_some(), "{error:?}");
            }
        }
    }
});
