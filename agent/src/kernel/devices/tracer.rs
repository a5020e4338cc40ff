//! Loads the programs, attaches them and reads their ring buffer.

use std::{io, os::fd::AsFd as _, sync::Arc, time::Duration};

use agent_ebpf::{
    GLOBAL_LAYOUT, MAP_RECORDS,
    access::{MAP_ACCESSES, MAP_CALLS, MAP_HOLDERS, MAP_PLACES, MAP_THREADS},
};
use aya::{Ebpf, maps::Map};

pub use super::maps::Maps;
use super::{Majors, Told, attach, decode, maps::Room, walk::walk};
use crate::kernel::{
    Buffer,
    layout::{self, LayoutError},
    loader::Loader,
    privileges,
    ready::Ready,
    ring::Ring,
    source::State,
    tracer::{OBJECT, TracerError, refused},
};

/// Why devices are not traced.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Tracer(#[from] TracerError),
    #[error("where the kernel keeps a process's files is not known: {0}")]
    Layout(#[from] LayoutError),
}

impl Error {
    /// This error as the state of the source.
    #[must_use]
    pub fn state(&self) -> State {
        match self {
            Self::Tracer(error) => error.state(),
            Self::Layout(_) => State::Unavailable {
                reason: self.to_string(),
                remedy: "It takes a kernel built with CONFIG_DEBUG_INFO_BTF, and /sys as the container runtime mounts it."
                    .to_owned(),
            },
        }
    }
}

/// The attached programs.
#[derive(Debug)]
pub struct DeviceTracer {
    ring: Ring,
    maps: Arc<Maps>,
    way: attach::Way,
    /// Owns the attachments; dropping it detaches the programs.
    _programs: Programs,
    /// What the walk at the start has looked at, or why there was none.
    walked: Result<(u32, u32), String>,
}

struct Programs(Ebpf);

impl DeviceTracer {
    /// Loads, attaches and looks through the files of all processes. Blocks for some milliseconds, and where the kernel
    /// offers functions for some more: call it off the session's thread. `branch` is the driver's (580), where that is known.
    pub fn load(
        loader: Loader,
        buffer: Buffer,
        majors: Majors,
        branch: Option<u16>,
    ) -> Result<Self, Error> {
        let missing = privileges::missing_for_tracer();
        if !missing.is_empty() {
            return Err(TracerError::Capabilities(missing).into());
        }
        let layout = layout::of_this_kernel()?;
        layout.devices?;
        let room = Room::of(buffer);
        let Loader(mut loader) = loader;
        let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
        loader.override_global(aya_log::LEVEL, &0u8, true);
        loader.override_global(GLOBAL_LAYOUT, &layout.fields, true);
        loader.map_max_entries("AYA_LOGS", page).map_max_entries(MAP_RECORDS, page);
        loader.map_max_entries(MAP_ACCESSES, room.ring);
        loader.map_max_entries(MAP_HOLDERS, room.processes);
        loader.map_max_entries(MAP_THREADS, room.threads);
        loader.map_max_entries(MAP_CALLS, room.calls);
        loader.map_max_entries(MAP_PLACES, room.places);
        let mut programs = loader.load(OBJECT).map_err(refused)?;
        let Some(Map::RingBuf(ring)) = programs.take_map(MAP_ACCESSES) else {
            return Err(TracerError::Object(MAP_ACCESSES).into());
        };
        let fd = ring.fd().as_fd().try_clone_to_owned().map_err(refused)?;
        let maps = Maps::take(&mut programs, room, majors, branch)?;
        let way = attach::attach(&mut programs)?;
        let walked = walk(&mut programs);
        let ring = Ring::new(fd, room.ring).map_err(refused)?;
        Ok(Self { ring, maps: Arc::new(maps), way, _programs: Programs(programs), walked })
    }

    /// By what means it sees calls, and what it found at the start.
    #[must_use]
    pub fn how(&self) -> String {
        let way = match &self.way {
            attach::Way::Functions => "fentry and fexit".to_owned(),
            attach::Way::Tracepoints(why) => {
                format!("raw tracepoints sys_enter and sys_exit (not by fentry: {why})")
            }
        };
        match &self.walked {
            Ok((processes, files)) => {
                format!(
                    "{way}; {processes} processes with {files} places for files were there at the start"
                )
            }
            Err(why) => format!("{way}; what was open before is found when it is used: {why}"),
        }
    }

    #[must_use]
    pub fn maps(&self) -> Arc<Maps> {
        Arc::clone(&self.maps)
    }

    /// Waits for what the programs tell and hands it to `hear`; ends only with an error.
    pub async fn run(&mut self, mut hear: impl FnMut(Told)) -> io::Result<()> {
        let ready = Ready::of(self.ring.as_fd())?;
        loop {
            while self.drain(&mut hear)? {
                tokio::task::yield_now().await;
            }
            ready.wait().await?;
            // Nobody waits for these as for an Xid, and in a storm each waking costs more than what it brings.
            tokio::time::sleep(PAUSE).await;
        }
    }

    fn drain(&mut self, hear: &mut impl FnMut(Told)) -> io::Result<bool> {
        let frame = self.maps.frame();
        for _ in 0..BATCH {
            let Some(record) = self.ring.next()? else { return Ok(false) };
            match decode::told(&record, &frame) {
                Some(told) => hear(told),
                None => {
                    self.maps.count_malformed();
                }
            }
        }
        Ok(true)
    }
}

/// Records that are handed on before the sessions get a turn.
const BATCH: usize = 256;
/// Between two readings of the ring buffer.
const PAUSE: Duration = Duration::from_millis(10);

impl std::fmt::Debug for Programs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Programs").field(&self.0.programs().count()).finish()
    }
}
