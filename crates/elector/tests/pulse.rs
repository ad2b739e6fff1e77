//! Whether a campaign goes on can be told from outside, even when the runtime it is driven by hangs.
#![allow(missing_docs)]

use std::sync::mpsc;
use std::time::Duration;

use kube::Config;
use leadergroup_elector::{Elector, Options};

#[test]
fn a_runtime_that_hangs_shows_in_the_pulse_and_one_that_goes_on_again_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (pulse, on_pulse) = mpsc::channel();
    let (unblock, block) = mpsc::channel::<()>();
    let (done, on_done) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        runtime.block_on(async {
            // Nothing answers there: a campaign goes on all the same.
            let config = Config::new("http://127.0.0.1:1".parse().unwrap());
            let elector = Elector::start(config, Options::new("shop", "billing", "me")).unwrap();
            pulse.send(elector.pulse()).unwrap();
            // What no task of an asynchronous program should do.
            block.recv().unwrap();
            on_done.await.unwrap();
            elector.resign().await;
        });
    });
    let pulse = on_pulse.recv().unwrap();
    while pulse.overdue() < Duration::from_secs(1) {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!pulse.has_ended());
    unblock.send(()).unwrap();
    while pulse.overdue() > Duration::ZERO {
        std::thread::sleep(Duration::from_millis(5));
    }
    done.send(()).unwrap();
    thread.join().unwrap();
    assert!(pulse.has_ended());
}
