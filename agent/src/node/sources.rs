//! The sources that hear as it happens, and how they feed the journal.

use std::{
    path::Path,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::Node;
use crate::{
    event::{Origin, Report, Source, What},
    gpu::events::{Listener, Told},
    kernel::{
        DriverXid, Heard, replay,
        source::{State, heard_counter},
        tracer::Tracer,
    },
    xid::{MigInstance, PciAddress},
};

/// How long to wait before NVML is asked for its events again.
const AGAIN: Duration = Duration::from_secs(30);
const AGAIN_SOON: &str =
    "It is tried again every 30 s; a driver that was reloaded or upgraded is picked up then.";

impl Node {
    /// Feeds the journal from NVML's event set, when NVML is there; where it is not, or no longer, asks again.
    pub fn listen_to_nvml(self: &Arc<Self>) {
        self.sources.set(Source::Nvml, State::Starting);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                let (reason, remedy) = match Listener::new(&node.gpu).await {
                    Ok(listener) => {
                        let listener = Arc::new(listener);
                        let ended = node.listen(Arc::clone(&listener)).await;
                        listener.end(&node.gpu).await;
                        (ended, AGAIN_SOON.to_owned())
                    }
                    Err(error) => (error.to_string(), error.remedy()),
                };
                node.sources.set(Source::Nvml, State::Unavailable { reason, remedy });
                tokio::time::sleep(AGAIN).await;
            }
        });
    }

    /// Listens on a thread of its own, because the wait is in the driver; why it has ended. GPUs that do not let themselves
    /// be registered are asked again.
    async fn listen(self: &Arc<Self>, listener: Arc<Listener>) -> String {
        let (count, counter) = heard_counter();
        let mut heard = loop {
            match listener.register(&self.gpu).await {
                Ok(heard) => break heard,
                Err(error) if listener.is_retired() => return error.to_string(),
                Err(error) => {
                    let (reason, remedy) = (error.to_string(), error.remedy());
                    self.sources.set(Source::Nvml, State::Unavailable { reason, remedy });
                    tokio::time::sleep(AGAIN).await;
                }
            }
        };
        let live = |(heard, of)| {
            let how = format!("Xids of {heard} of {of} GPUs, by number");
            self.sources.live(Source::Nvml, how, Arc::clone(&counter));
        };
        live(heard);
        let (node, listening) = (Arc::clone(self), Arc::clone(&listener));
        let (tell, mut told) = oneshot::channel();
        let thread = std::thread::Builder::new().name("nvml-events".to_owned()).spawn(move || {
            let ended = listening.run(|told| {
                count.fetch_add(1, Ordering::Relaxed);
                node.hear_number(told);
            });
            // Nobody waits any more: the process ends.
            let _ = tell.send(ended);
        });
        if let Err(error) = thread {
            return format!("cannot start a thread: {error}");
        }
        loop {
            tokio::select! {
                ended = &mut told => return ended.unwrap_or_else(|_| "its thread has ended".to_owned()),
                () = tokio::time::sleep(AGAIN), if heard.0 < heard.1 => {
                    if let Ok(now) = listener.register(&self.gpu).await
                        && now != heard
                    {
                        heard = now;
                        live(heard);
                    }
                }
            }
        }
    }

    fn hear_number(&self, told: Told) {
        let Told { time, pci, code, gpu_instance, compute_instance } = told;
        let instance = MigInstance { gpu: gpu_instance, compute: compute_instance };
        let what = What::Xid { pci, code, instance, message: Bytes::new() };
        let (source, origin) = (Source::Nvml, Origin::Kernel);
        self.journal.append(Report {
            time,
            source,
            task: None,
            what,
            attribution: self.devices.attribute(time, pci, None, None),
            origin,
            follows: false,
        });
    }

    fn hear_driver(&self, xid: DriverXid) {
        let DriverXid { time, task, pci, code, message } = xid;
        let pci = PciAddress::parse(&pci);
        let what = What::Xid { pci, code, instance: MigInstance::default(), message };
        let (source, origin) = (Source::Tracepoint, Origin::Kernel);
        let attribution = self.devices.attribute(time, pci, None, Some(&task));
        self.journal.append(Report {
            time,
            source,
            task: Some(task),
            what,
            attribution,
            origin,
            follows: false,
        });
    }

    /// Feeds the journal from a file of kernel lines.
    pub fn replay(self: &Arc<Self>, path: &Path) -> std::io::Result<()> {
        let mut lines = replay::start(path)?;
        let (count, counter) = heard_counter();
        self.sources.live(Source::Replay, format!("lines of {}", path.display()), counter);
        let node = Arc::clone(self);
        tokio::spawn(async move {
            while let Some(line) = lines.recv().await {
                count.fetch_add(1, Ordering::Relaxed);
                node.hear(Source::Replay, line);
            }
            node.sources
                .set(Source::Replay, State::Off("the file has been read to its end".to_owned()));
        });
        Ok(())
    }

    /// Starts hearing with a tracer that was loaded already.
    pub(super) fn trace(self: &Arc<Self>, mut tracer: Tracer) {
        self.sources.live(Source::Ebpf, tracer.how(), tracer.counter());
        match tracer.driver() {
            State::Live(how) => {
                self.sources.live(Source::Tracepoint, how.clone(), tracer.driver_counter());
            }
            silent => self.sources.set(Source::Tracepoint, silent.clone()),
        }
        let node = Arc::clone(self);
        tokio::spawn(async move {
            let hear = |heard| match heard {
                Heard::Line(line) => node.hear(Source::Ebpf, line),
                Heard::Xid(xid) => node.hear_driver(xid),
            };
            let Err(error) = tracer.run(hear).await else { return };
            let state = State::Unavailable {
                reason: format!("reading the ring buffer failed: {error}"),
                remedy: "Open a new session; report this.".to_owned(),
            };
            node.sources.set(Source::Tracepoint, state.clone());
            node.sources.set(Source::Ebpf, state);
        });
    }
}
