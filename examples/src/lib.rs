//! Small programs that use keyfob.
