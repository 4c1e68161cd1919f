//! What tests/inputs.rs tries as well.

#[path = "../../inputs/mod.rs"]
pub mod inputs;

/// A program of libFuzzer's that hands all that it thinks of to one of them.
#[macro_export]
macro_rules! target {
    ($name:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::inputs::run($crate::inputs::$name::$name, data));
    };
}
