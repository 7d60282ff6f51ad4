//! The clocks of a call: what it cost, and what bounds it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use super::engine::EPOCH_TICK;

/// Content that crossed in a call, in bytes. Scalars and the shape of records are not counted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Crossed {
    /// To the guest.
    pub given: u64,
    /// From the guest.
    pub taken: u64,
}

/// Where the time of a call went.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spent {
    /// The guest ran, or was entered or left.
    pub guest: Duration,
    /// Functions of the host ran that the guest called.
    pub host: Duration,
    /// Nobody did: it waited for something, or for its turn.
    pub waited: Duration,
}

impl Spent {
    /// What it cost.
    pub fn work(&self) -> Duration {
        self.guest + self.host
    }
}

impl std::ops::Add for Spent {
    type Output = Self;

    fn add(self, more: Self) -> Self {
        Self { guest: self.guest + more.guest, host: self.host + more.host, waited: self.waited + more.waited }
    }
}

/// The clocks of a call. They are shared with whoever polls the call, because only that one knows when it stood still.
#[derive(Debug, Default)]
pub struct CallClock {
    /// Reading of the thread's CPU clock that the guest's time counts from, in nanoseconds. Readings before and after a wait may be of
    /// different threads, and others ran in between.
    cpu: AtomicU64,
    /// Work of the host's functions until then, in nanoseconds.
    host: AtomicU64,
    /// Nanoseconds in which the call was not polled.
    waited: AtomicU64,
    /// Those of them that have a limit of their own, and how many such waits go on.
    excused: AtomicU64,
    excuses: AtomicU32,
}

impl CallClock {
    /// The call began, or goes on after a wait, and no tick has come since. The first one can come at once, so it charges nothing: a call
    /// is never cut before its limit.
    pub const UNREAD: u64 = u64::MAX;

    /// A call begins.
    pub fn begin(&self) {
        self.mark(Self::UNREAD);
        for clock in [&self.waited, &self.excused] {
            clock.store(0, Ordering::Relaxed);
        }
        self.excuses.store(0, Ordering::Relaxed);
    }

    /// The guest's CPU time counts from here.
    pub fn mark(&self, at: u64) {
        self.cpu.store(at, Ordering::Relaxed);
    }

    /// A tick came, at this reading of the thread's CPU clock: what the guest used since the last one. None, when it is the first one of the call or
    /// after a wait.
    ///
    /// `host` is the work of the host's functions so far. Between two ticks a guest runs for about one, so what is more than that was theirs (and
    /// is charged: to fill memory is one of them), or the machine stood still, which a thread's clock may count and no guest can do anything about.
    pub fn tick(&self, cpu: u64, host: Duration) -> Option<Duration> {
        let host = nanos(host);
        let (before, host_before) = (self.cpu.swap(cpu, Ordering::Relaxed), self.host.swap(host, Ordering::Relaxed));
        if before == Self::UNREAD {
            return None;
        }
        let most = nanos(2 * EPOCH_TICK) + host.saturating_sub(host_before);
        // Never nothing, so that whoever goes on for good comes to an end.
        Some(Duration::from_nanos(cpu.saturating_sub(before).min(most)).max(Duration::from_micros(1)))
    }

    /// Where the time of a call went that took this long, so much of it in functions of the host, waits included. There are no others: a guest that
    /// makes room for others does so in one too.
    pub fn spent(&self, took: Duration, host: Duration) -> Spent {
        let waited = Duration::from_nanos(self.waited.load(Ordering::Relaxed));
        let host = host.saturating_sub(waited);
        Spent { guest: took.saturating_sub(waited + host), host, waited }
    }

    /// Waits for something that has a limit of its own: the call's wall clock stands still meanwhile.
    pub async fn excuse<F: Future>(&self, waiting: F) -> F::Output {
        let begin = Instant::now();
        self.excuses.fetch_add(1, Ordering::Relaxed);
        let output = waiting.await;
        self.excuses.fetch_sub(1, Ordering::Relaxed);
        self.excused.fetch_add(nanos(begin.elapsed()), Ordering::Relaxed);
        output
    }

    /// How much longer a call may take that began then. `None` while its clock stands still.
    fn left(&self, began: Instant, wall: Duration) -> Option<Duration> {
        if self.excuses.load(Ordering::Relaxed) > 0 {
            return None;
        }
        let excused = Duration::from_nanos(self.excused.load(Ordering::Relaxed));
        Some((wall + excused).saturating_sub(began.elapsed()))
    }
}

/// What bounds a call from outside: its wall clock, and the reading of its other clocks.
pub struct Bounds {
    pub began: Instant,
    pub wall: Duration,
    pub clock: Arc<CallClock>,
}

/// A call took longer than it may.
#[derive(Debug)]
pub struct TookTooLong;

impl Bounds {
    /// Runs the call.
    pub async fn run<F: Future>(self, call: F) -> Result<F::Output, TookTooLong> {
        let mut call = pin!(call);
        // Most calls end at once and need no timer.
        let mut timer = None;
        let mut stood = None::<Instant>;
        std::future::poll_fn(|context| {
            if let Some(since) = stood.take() {
                self.clock.waited.fetch_add(nanos(since.elapsed()), Ordering::Relaxed);
                self.clock.mark(CallClock::UNREAD);
            }
            if let Poll::Ready(output) = call.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            stood = Some(Instant::now());
            let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.wall)));
            while timer.as_mut().poll(context).is_ready() {
                match self.clock.left(self.began, self.wall) {
                    Some(Duration::ZERO) => return Poll::Ready(Err(TookTooLong)),
                    left => timer.as_mut().reset(tokio::time::Instant::now() + left.unwrap_or(self.wall)),
                }
            }
            Poll::Pending
        })
        .await
    }
}

/// As the atomic clocks count.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU time of the calling thread so far, in nanoseconds.
pub fn thread_cpu_nanos() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_charged_for_what_it_did() {
        let (us, clock) = (Duration::from_micros, CallClock::default());
        clock.begin();
        let all = |ticks: &[(u64, u64)]| ticks.iter().map(|(cpu, host)| clock.tick(nanos(us(*cpu)), us(*host))).collect::<Vec<_>>();
        // Of a function of the host that took 50 ms all is charged.
        assert_eq!(all(&[(700_000, 90), (701_000, 90), (751_500, 50_090)]), [None, Some(us(1_000)), Some(us(50_500))]);
        // The machine stood still for 8 ms, as far as anybody can tell; and a tick without any time is one all the same.
        assert_eq!(all(&[(759_500, 50_190), (759_500, 50_190)]), [Some(us(2_100)), Some(us(1))]);
        // After a wait it may be another thread.
        clock.mark(CallClock::UNREAD);
        assert_eq!(all(&[(3, 50_190), (500, 50_190)]), [None, Some(us(497))]);
    }

    #[test]
    fn a_wait_is_nobodys_work() {
        let ms = Duration::from_millis;
        for waited in [0, 300] {
            let clock = CallClock::default();
            clock.begin();
            clock.waited.store(nanos(ms(waited)), Ordering::Relaxed);
            let spent = clock.spent(ms(7 + 5 + waited), ms(5 + waited));
            assert_eq!((spent.guest, spent.host, spent.waited), (ms(7), ms(5), ms(waited)));
        }
    }
}
