use std::sync::atomic::AtomicUsize;

use super::*;

/// Long for a call that answers, short for one that never does.
const DEADLINE: Duration = Duration::from_millis(200);

fn made(progress: &Progress, call: &'static str) -> Result<(), GpuError> {
    progress
        .during(call, || Ok(()))
        .map_err(|error| GpuError::Call { call, reason: error.to_string() })
}

#[tokio::test]
async fn a_call_that_hangs_is_named_and_what_was_to_follow_it_is_not_called() {
    let lane = Lane::start("test");
    let (release, stuck) = mpsc::channel::<()>();
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let question = move |progress: &Progress| {
        let hang = || Ok(stuck.recv().is_ok());
        let _ = progress.during("nvmlDeviceGetTemperature", hang);
        let _ = progress.during("nvmlDeviceGetPowerUsage", || {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(())
        });
        Ok(())
    };
    for answer in [
        lane.ask(DEADLINE, question).await,
        // Nobody queues behind it.
        lane.ask(DEADLINE, |progress| made(progress, "nvmlDeviceGetName")).await,
    ] {
        let Err(GpuError::Hung { call, .. }) = answer else { panic!("{answer:?}") };
        assert_eq!(call, "nvmlDeviceGetTemperature");
    }
    release.send(()).unwrap();
    while lane.progress.lock().current.is_some() {
        tokio::task::yield_now().await;
    }
    lane.ask(DEADLINE, |progress| made(progress, "nvmlDeviceGetName")).await.unwrap();
    assert_eq!(calls.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_slow_driver_is_waited_for_as_long_as_each_call_comes_back() {
    let call = |progress: &Progress| {
        for _ in 0..4 {
            let slow = || {
                std::thread::sleep(DEADLINE / 3);
                Ok(())
            };
            let _ = progress.during("nvmlDeviceGetName", slow);
        }
        Ok(42)
    };
    assert_eq!(Lane::start("test").ask(DEADLINE, call).await.unwrap(), 42);
}

#[tokio::test]
async fn a_gpu_that_the_driver_initialises_is_waited_for_and_called_stuck_only_later() {
    let lane = Lane::start("test");
    let slow = |progress: &Progress| {
        let initialises = || {
            std::thread::sleep(DEADLINE * 2);
            Ok(())
        };
        let _ = progress.during(FIRST, initialises);
        Ok(())
    };
    lane.ask(DEADLINE, slow).await.unwrap();
    let answer = lane.ask(DEADLINE, slow).await;
    assert!(matches!(answer, Err(GpuError::Hung { call: FIRST, .. })), "{answer:?}");
}

#[tokio::test]
async fn a_question_that_panics_is_answered_and_so_is_the_next() {
    let lane = Lane::start("test");
    let panics = |progress: &Progress| {
        let _ = progress.during("nvmlDeviceGetName", || -> Result<(), _> { panic!("on purpose") });
        Ok(())
    };
    let answer = lane.ask(DEADLINE, panics).await;
    assert!(matches!(answer, Err(GpuError::Call { .. })), "{answer:?}");
    std::thread::sleep(DEADLINE);
    lane.ask(DEADLINE, |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn an_error_that_says_the_library_no_longer_fits_is_kept_for_one_question() {
    let lane = Lane::start("test");
    let gone = |progress: &Progress| {
        let _ = progress.during("nvmlDeviceGetName", || -> Result<(), _> {
            Err(NvmlError::LibRmVersionMismatch)
        });
        let _ = progress.during("nvmlDeviceGetUUID", || Ok(()));
        Ok(progress.broken())
    };
    let (_, remedy) = lane.ask(DEADLINE, gone).await.unwrap().unwrap();
    assert!(remedy.contains("upgraded"), "{remedy}");
    let other = |progress: &Progress| {
        let lost = || -> Result<(), _> { Err(NvmlError::GpuLost) };
        let _ = progress.during("nvmlDeviceGetName", lost);
        Ok(progress.broken())
    };
    assert_eq!(lane.ask(DEADLINE, other).await.unwrap(), None);
}
