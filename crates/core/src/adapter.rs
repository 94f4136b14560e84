//! What several stores need in the same way. For those who write a store; an application needs none of it.

mod locks;
mod ramp;
mod remembering;
mod sink_meter;
mod wiped_buffer;

pub use locks::NameLocks;
pub use ramp::Ramp;
pub use remembering::{OpenedRecord, RecordLock, Remembering};
pub use sink_meter::SinkMeter;
pub use wiped_buffer::WipedBuffer;
