#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| softdpu_fuzz::vhost(data));
