//! Any text is a query or is refused with a place in it; what a query says of itself is the same query.

#![no_main]

use libfuzzer_sys::fuzz_target;
use triggerline_matching::jsonpath::Query;

fuzz_target!(|text: &str| {
    match Query::parse(text) {
        // Escapes may make it longer than a query may be.
        Ok(query) => match Query::parse(&query.to_string()) {
            Ok(again) => assert_eq!(again.to_string(), query.to_string()),
            Err(error) => assert!(error.why.contains("bytes long"), "{query}: {error}"),
        },
        Err(error) => assert!(text.is_char_boundary(error.at), "{error}"),
    }
});
