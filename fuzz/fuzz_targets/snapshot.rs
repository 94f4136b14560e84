#![no_main]

use keyfob_integration_tests::fuzzing;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| fuzzing::snapshot(input));
