//! The conformance suite that every keyfob store and layer passes.
