//! In the place of the tracer where the agent is built without the feature `ebpf`.

use std::{convert::Infallible, io, sync::Arc};

use super::{Counted, Holder, Inside, Majors, ProcessId, Told, Total, Unseen};
pub use crate::kernel::tracer::TracerError as Error;
use crate::kernel::{Buffer, tracer::Loader};

/// Cannot be made.
#[derive(Debug)]
pub struct DeviceTracer(Infallible);

/// Cannot be had.
#[derive(Debug)]
pub struct Maps(Infallible);

impl DeviceTracer {
    pub fn load(_: Loader, _: Buffer, _: Majors, _: Option<u16>) -> Result<Self, Error> {
        Err(Error)
    }

    #[must_use]
    pub fn how(&self) -> String {
        match self.0 {}
    }

    #[must_use]
    pub fn maps(&self) -> Arc<Maps> {
        match self.0 {}
    }

    #[expect(clippy::unused_async, reason = "the same signature as the tracer's")]
    pub async fn run(&mut self, _: impl FnMut(Told)) -> io::Result<()> {
        match self.0 {}
    }
}

#[expect(clippy::must_use_candidate, reason = "nothing here can be called")]
impl Maps {
    pub fn set_majors(&self, _: Majors) -> Result<(), Error> {
        match self.0 {}
    }

    pub fn holders(&self) -> Vec<Holder> {
        match self.0 {}
    }

    pub fn inside(&self) -> Vec<Inside> {
        match self.0 {}
    }

    pub fn counted(&self, _: u32) -> Vec<Counted> {
        match self.0 {}
    }

    pub fn make_room(&self, _: impl Fn(ProcessId) -> bool) {
        match self.0 {}
    }

    pub fn begin_window(&self) -> u32 {
        match self.0 {}
    }

    pub fn totals(&self) -> Vec<Total> {
        match self.0 {}
    }

    pub fn unseen(&self) -> Unseen {
        match self.0 {}
    }
}
