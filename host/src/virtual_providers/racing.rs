//! `racing`: several members are asked at once, the best answer counts, and the others are cancelled at once.

use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use llm_codec::hub::{ChatError, ErrorClass};
use tokio::time::Instant;

use super::failure::{self, Failure, Scope};
use super::performance::Ran;
use crate::config::virtual_providers::RaceStrategy;

/// How a race is run.
pub struct Race<'a> {
    /// Name of the virtual provider.
    pub provider: &'a str,
    /// Who wins.
    pub strategy: RaceStrategy,
    /// How long the first event may take.
    pub timeout: Duration,
    /// How long `weighted` waits for others after the first.
    pub grace: Duration,
    /// Who races.
    pub racers: &'a [Racer],
}

/// Who races.
pub struct Racer {
    /// Its name.
    pub name: String,
    /// Of earlier races, from 0 to 1.
    pub standing: f64,
    /// How long `hedge` waits for it before the next one starts.
    pub patience: Duration,
}

/// Where a race is run.
pub trait Track: Sync {
    /// What a racer answers.
    type Answer: Send;

    /// Asks a racer, up to the first event of its answer, or to its end where answers are compared. Dropping the future cancels it.
    fn ask(&self, racer: usize) -> BoxFuture<'_, Result<Self::Answer, Failure>>;

    /// What complete answers are worth, in their order, from 0 to 1.
    fn judge(&self, answers: &[(usize, Self::Answer, Duration)]) -> BoxFuture<'_, Vec<f64>>;

    /// What is dropped by this ends as the fate says.
    fn end(&self, fate: Fate, drop: impl FnOnce());

    /// Takes note of what became of a racer.
    fn ran(&self, racer: usize, ran: Ran);
}

/// Why racers are dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// Another one was chosen.
    Lost,
    /// The time was up.
    Late,
}

/// The winner.
#[derive(Debug)]
pub struct Won<T> {
    /// Its place.
    pub racer: usize,
    /// Its answer.
    pub answer: T,
    /// From the beginning of the race to the first event of its answer.
    pub latency: Duration,
}

/// Racers on their way.
type Running<'t, A> = FuturesUnordered<BoxFuture<'t, (usize, Result<A, Failure>)>>;

/// A race that is run.
struct Course<'a, 't, K: Track> {
    race: &'a Race<'a>,
    track: &'t K,
    began: Instant,
    running: Running<'t, K::Answer>,
    /// When each of those that did started; they do in their order.
    started: Vec<Instant>,
    /// Who begins to answer, and after which time of its own.
    arrived: Vec<(usize, K::Answer, Duration)>,
    first_arrival: Option<Instant>,
    failures: Vec<(usize, Failure)>,
}

/// Runs a race. The error tells of all racers when none answered.
pub async fn run<K: Track>(race: &Race<'_>, track: &K) -> Result<Won<K::Answer>, Failure> {
    let mut course = Course {
        race,
        track,
        began: Instant::now(),
        running: FuturesUnordered::new(),
        started: Vec::new(),
        arrived: Vec::new(),
        first_arrival: None,
        failures: Vec::new(),
    };
    course.start();
    while race.strategy != RaceStrategy::Hedge && course.start() {}
    loop {
        // Who waits for a racer that failed waits for nothing.
        if course.running.is_empty() && course.arrived.is_empty() {
            course.start();
        }
        let decided = !course.arrived.is_empty() && matches!(race.strategy, RaceStrategy::FirstWins | RaceStrategy::Hedge);
        if decided || course.running.is_empty() {
            break;
        }
        let (end, next) = (course.end(), course.next_start());
        let wake = next.map_or(end, |next| next.min(end));
        tokio::select! {
            biased;
            Some((racer, result)) = course.running.next() => {
                if let Some(failure) = course.over(racer, result) {
                    return Err(failure);
                }
            }
            () = tokio::time::sleep_until(wake) => {
                if end <= wake {
                    break;
                }
                course.start();
            }
        }
    }
    course.decide().await
}

impl<K: Track> Course<'_, '_, K> {
    /// Starts the next racer, if there is one.
    fn start(&mut self) -> bool {
        let racer = self.started.len();
        if racer == self.race.racers.len() {
            return false;
        }
        self.started.push(Instant::now());
        let answer = self.track.ask(racer);
        self.running.push(answer.map(move |result| (racer, result)).boxed());
        true
    }

    /// When the race is decided at the latest.
    fn end(&self) -> Instant {
        match (self.first_arrival, self.race.strategy) {
            (Some(first), RaceStrategy::Weighted) => first + self.race.grace,
            _ => self.began + self.race.timeout,
        }
    }

    /// When the next racer starts, if nobody answers before.
    fn next_start(&self) -> Option<Instant> {
        let last = self.started.len().checked_sub(1)?;
        let more = self.race.strategy == RaceStrategy::Hedge && self.started.len() < self.race.racers.len();
        more.then(|| self.started[last] + self.race.racers[last].patience)
    }

    /// A racer answers, or failed. What it gives back ends the request, and with it the race.
    fn over(&mut self, racer: usize, result: Result<K::Answer, Failure>) -> Option<Failure> {
        match result {
            Ok(answer) => {
                self.first_arrival.get_or_insert_with(Instant::now);
                self.arrived.push((racer, answer, self.started[racer].elapsed()));
            }
            Err(failure) if failure.ends() => {
                let Self { running, arrived, .. } = self;
                self.track.end(Fate::Lost, || {
                    running.clear();
                    arrived.clear();
                });
                return Some(failure);
            }
            Err(failure) => {
                self.failed(racer, failure);
                // The next one is not kept waiting for it.
                if self.race.strategy == RaceStrategy::Hedge {
                    self.start();
                }
            }
        }
        None
    }

    /// A racer has no answer. One that was not even asked did nothing wrong.
    fn failed(&mut self, racer: usize, failure: Failure) {
        if failure.scope == Scope::Member {
            self.track.ran(racer, Ran::Failed);
        }
        self.failures.push((racer, failure));
    }

    async fn decide(mut self) -> Result<Won<K::Answer>, Failure> {
        if self.arrived.is_empty() {
            return Err(self.nobody());
        }
        let chosen = match self.race.strategy {
            RaceStrategy::FirstWins | RaceStrategy::Hedge => 0,
            RaceStrategy::Weighted => {
                let fastest = self.arrived.iter().map(|(_, _, took)| took.as_secs_f64()).fold(f64::INFINITY, f64::min);
                // How well it stands, less by as much as it is slower than the fastest here.
                best(
                    self.arrived
                        .iter()
                        .map(|(racer, _, took)| self.race.racers[*racer].standing * (fastest.max(1e-6) / took.as_secs_f64().max(1e-6))),
                )
            }
            RaceStrategy::Quality => {
                // They are late, and nobody waits for them while the others are judged.
                self.lose_running();
                best(self.track.judge(&self.arrived).await.into_iter())
            }
        };
        self.lose_running();
        let (racer, answer, took) = self.arrived.swap_remove(chosen.min(self.arrived.len() - 1));
        let latency = self.started[racer].duration_since(self.began) + took;
        self.track.ran(racer, Ran::Won(took));
        for (racer, _, took) in &self.arrived {
            self.track.ran(*racer, Ran::Late(*took));
        }
        self.track.end(Fate::Lost, || self.arrived.clear());
        Ok(Won { racer, answer, latency })
    }

    /// Those that did not answer yet are cancelled.
    fn lose_running(&mut self) {
        if self.running.is_empty() {
            return;
        }
        // What has arrived at this very moment was paid for, and tells how many tokens it took.
        while let Some(Some((racer, result))) = self.running.next().now_or_never() {
            match result {
                Ok(answer) => {
                    let took = self.started[racer].elapsed();
                    self.track.ran(racer, Ran::Late(took));
                    self.track.end(Fate::Lost, || drop(answer));
                }
                Err(failure) => self.failed(racer, failure),
            }
        }
        for racer in self.unheard() {
            self.track.ran(racer, Ran::CutOff(self.started[racer].elapsed()));
        }
        self.track.end(Fate::Lost, || self.running.clear());
    }

    /// Racers that are still on their way.
    fn unheard(&self) -> Vec<usize> {
        if self.running.is_empty() {
            return Vec::new();
        }
        let heard = |racer: &usize| self.arrived.iter().any(|(r, ..)| r == racer) || self.failures.iter().any(|(r, _)| r == racer);
        (0..self.started.len()).filter(|racer| !heard(racer)).collect()
    }

    /// The error of a race without a winner.
    fn nobody(mut self) -> Failure {
        let ms = self.race.timeout.as_millis();
        for racer in self.unheard() {
            self.track.ran(racer, Ran::Failed);
            let message = format!("Its answer did not begin within {ms} ms.");
            self.failures.push((racer, Failure::member(ChatError::new(ErrorClass::Timeout, message))));
        }
        self.track.end(Fate::Late, || self.running.clear());
        self.failures.sort_by_key(|(racer, _)| *racer);
        let named = self.failures.drain(..).map(|(racer, failure)| (self.race.racers[racer].name.clone(), failure));
        failure::of_all(self.race.provider, named.collect())
    }
}

/// The place of the greatest value, the first of equal ones.
fn best(values: impl Iterator<Item = f64>) -> usize {
    let mut best = (0, f64::NEG_INFINITY);
    for (place, value) in values.enumerate() {
        if value > best.1 {
            best = (place, value);
        }
    }
    best.0
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// What a racer does: after so many milliseconds it answers with a worth, fails, ends the request, or does nothing for ever.
    #[derive(Clone, Copy)]
    enum Does {
        Answers(u64, f64),
        Fails(u64),
        Ends(u64),
        Skips,
        Hangs,
    }
    use Does::*;

    #[derive(Default)]
    struct Grounds {
        script: Vec<Does>,
        asked: Mutex<Vec<(usize, Duration)>>,
        ran: Mutex<Vec<(usize, Ran)>>,
        alive: AtomicUsize,
        ended: Mutex<Vec<Fate>>,
    }

    /// An answer, or a racer on its way: it tells when it is dropped.
    struct Alive<'a>(&'a AtomicUsize, f64);

    impl<'a> Alive<'a> {
        fn new(count: &'a AtomicUsize, worth: f64) -> Self {
            count.fetch_add(1, Ordering::Relaxed);
            Self(count, worth)
        }
    }

    impl Drop for Alive<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl<'g> Track for &'g Grounds {
        type Answer = Alive<'g>;

        fn ask(&self, racer: usize) -> BoxFuture<'_, Result<Alive<'g>, Failure>> {
            let grounds: &'g Grounds = self;
            grounds.asked.lock().unwrap().push((racer, since_start()));
            let does = grounds.script[racer];
            let alive = Alive::new(&grounds.alive, 0.0);
            async move {
                let mut alive = alive;
                let fails = |error| Failure::member(ChatError::new(error, "scripted"));
                match does {
                    Answers(ms, worth) => {
                        on_the_paused_clock(ms).await;
                        alive.1 = worth;
                        Ok(alive)
                    }
                    Fails(ms) => {
                        on_the_paused_clock(ms).await;
                        Err(fails(ErrorClass::Overloaded))
                    }
                    Skips => Err(Failure::skipped(ChatError::new(ErrorClass::Overloaded, "scripted"))),
                    Ends(ms) => {
                        on_the_paused_clock(ms).await;
                        Err(Failure { scope: Scope::Request { rejected: true }, ..fails(ErrorClass::Permission) })
                    }
                    Hangs => std::future::pending().await,
                }
            }
            .boxed()
        }

        fn judge(&self, answers: &[(usize, Alive<'g>, Duration)]) -> BoxFuture<'_, Vec<f64>> {
            let worth = answers.iter().map(|(_, answer, _)| answer.1).collect();
            async move { worth }.boxed()
        }

        fn end(&self, fate: Fate, drop: impl FnOnce()) {
            self.ended.lock().unwrap().push(fate);
            drop();
        }

        fn ran(&self, racer: usize, ran: Ran) {
            self.ran.lock().unwrap().push((racer, ran));
        }
    }

    /// Passes as soon as nobody else has anything to do.
    async fn on_the_paused_clock(millis: u64) {
        tokio::time::sleep_until(Instant::now() + ms(millis)).await;
    }

    tokio::task_local! { static START: Instant; }

    fn since_start() -> Duration {
        START.with(|s| s.elapsed())
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Who won, after which time the race was over, who was asked when (in milliseconds), and what became of each.
    struct Told {
        won: Result<usize, ErrorClass>,
        took: Duration,
        asked: Vec<(usize, u64)>,
        ran: Vec<(usize, Ran)>,
    }

    async fn race(strategy: RaceStrategy, standings: &[f64], script: &[Does]) -> Told {
        let racers: Vec<Racer> = (0..script.len())
            .map(|n| Racer { name: format!("r{n}"), standing: standings.get(n).copied().unwrap_or(0.5), patience: ms(40) })
            .collect();
        let race = Race { provider: "v", strategy, timeout: ms(1_000), grace: ms(100), racers: &racers };
        let grounds = Grounds { script: script.to_vec(), ..Grounds::default() };
        START
            .scope(Instant::now(), async {
                let result = run(&race, &&grounds).await;
                let took = since_start();
                let left = usize::from(result.is_ok());
                assert_eq!(grounds.alive.load(Ordering::Relaxed), left, "all but the winner are cancelled at once");
                let asked = grounds.asked.lock().unwrap().iter().map(|(r, at)| (*r, at.as_millis() as u64)).collect();
                let mut ran = grounds.ran.lock().unwrap().clone();
                ran.sort_by_key(|(racer, _)| *racer);
                Told { won: result.map(|w| w.racer).map_err(|f| f.error.class), took, asked, ran }
            })
            .await
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_valid_event_wins() {
        let told = race(RaceStrategy::FirstWins, &[], &[Answers(50, 1.0), Fails(5), Answers(20, 0.0), Hangs]).await;
        assert_eq!((told.won, told.took), (Ok(2), ms(20)));
        assert_eq!(told.ran, [(0, Ran::CutOff(ms(20))), (1, Ran::Failed), (2, Ran::Won(ms(20))), (3, Ran::CutOff(ms(20)))]);
        let told = race(RaceStrategy::FirstWins, &[], &[Fails(5), Fails(9)]).await;
        assert_eq!((told.won, told.took), (Err(ErrorClass::Overloaded), ms(9)));
        let told = race(RaceStrategy::FirstWins, &[], &[Fails(5), Hangs]).await;
        assert_eq!((told.won, told.took), (Err(ErrorClass::Timeout), ms(1_000)));
        assert_eq!(told.ran, [(0, Ran::Failed), (1, Ran::Failed)]);
        let told = race(RaceStrategy::FirstWins, &[], &[Answers(0, 1.0)]).await;
        assert_eq!((told.won, told.took), (Ok(0), ms(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_not_asked_did_not_fail() {
        let told = race(RaceStrategy::FirstWins, &[], &[Skips, Answers(20, 0.0)]).await;
        assert_eq!((told.won, told.ran), (Ok(1), vec![(1, Ran::Won(ms(20)))]));
        let told = race(RaceStrategy::FirstWins, &[], &[Answers(0, 0.0), Skips]).await;
        assert_eq!((told.won, told.ran), (Ok(0), vec![(0, Ran::Won(ms(0)))]));
        let told = race(RaceStrategy::Hedge, &[], &[Skips, Fails(5)]).await;
        assert_eq!((told.won, told.ran), (Err(ErrorClass::Overloaded), vec![(1, Ran::Failed)]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_ends_the_race() {
        for strategy in [RaceStrategy::FirstWins, RaceStrategy::Weighted, RaceStrategy::Quality, RaceStrategy::Hedge] {
            let told = race(strategy, &[], &[Ends(5), Answers(50, 1.0)]).await;
            assert_eq!((told.won, told.took), (Err(ErrorClass::Permission), ms(5)), "{strategy:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn weighted_waits_a_little_and_takes_the_better_one() {
        let run = |standings: &'static [f64], script: &'static [Does]| race(RaceStrategy::Weighted, standings, script);
        let told = run(&[0.2, 0.9, 0.9], &[Answers(50, 0.0), Answers(80, 0.0), Answers(500, 0.0)]).await;
        assert_eq!((told.won, told.took), (Ok(1), ms(150)));
        assert_eq!(told.ran, [(0, Ran::Late(ms(50))), (1, Ran::Won(ms(80))), (2, Ran::CutOff(ms(150)))]);
        // Much slower is worse than much better.
        assert_eq!(run(&[0.2, 0.9], &[Answers(10, 0.0), Answers(100, 0.0)]).await.won, Ok(0));
        // Nobody else is left to wait for.
        let told = run(&[0.2, 0.9], &[Answers(50, 0.0), Fails(60)]).await;
        assert_eq!((told.won, told.took), (Ok(0), ms(60)));
        assert_eq!(run(&[], &[Hangs, Hangs]).await.won, Err(ErrorClass::Timeout));
        // The grace period begins with the first event, however late that is.
        let told = run(&[0.1, 0.9], &[Answers(950, 0.0), Answers(1_010, 0.0)]).await;
        assert_eq!((told.won, told.took), (Ok(1), ms(1_010)));
    }

    #[tokio::test(start_paused = true)]
    async fn quality_judges_all_that_are_there_in_time() {
        let told = race(RaceStrategy::Quality, &[], &[Answers(50, 0.3), Answers(400, 0.8), Answers(60, 0.5)]).await;
        assert_eq!((told.won, told.took), (Ok(1), ms(400)));
        assert_eq!(told.ran, [(0, Ran::Late(ms(50))), (1, Ran::Won(ms(400))), (2, Ran::Late(ms(60)))]);
        let told = race(RaceStrategy::Quality, &[], &[Answers(50, 0.3), Answers(4_000, 0.8), Fails(3)]).await;
        assert_eq!((told.won, told.took), (Ok(0), ms(1_000)));
        assert_eq!(told.ran[1], (1, Ran::CutOff(ms(1_000))));
        assert_eq!(race(RaceStrategy::Quality, &[], &[Hangs]).await.won, Err(ErrorClass::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn hedge_starts_the_next_one_when_the_one_before_is_late_or_fails() {
        let told = race(RaceStrategy::Hedge, &[], &[Answers(30, 1.0), Answers(1, 1.0)]).await;
        assert_eq!((told.won, told.took, told.asked), (Ok(0), ms(30), vec![(0, 0)]));
        let told = race(RaceStrategy::Hedge, &[], &[Answers(200, 1.0), Answers(100, 1.0), Answers(5, 1.0)]).await;
        assert_eq!((told.won, told.took, told.asked), (Ok(2), ms(85), vec![(0, 0), (1, 40), (2, 80)]));
        assert_eq!(told.ran[2], (2, Ran::Won(ms(5))), "its latency is its own");
        let told = race(RaceStrategy::Hedge, &[], &[Fails(10), Fails(10), Answers(10, 1.0)]).await;
        assert_eq!((told.won, told.took, told.asked), (Ok(2), ms(30), vec![(0, 0), (1, 10), (2, 20)]));
        let told = race(RaceStrategy::Hedge, &[], &[Answers(60, 1.0), Fails(1), Hangs]).await;
        assert_eq!((told.won, told.asked), (Ok(0), vec![(0, 0), (1, 40), (2, 41)]));
        assert_eq!(race(RaceStrategy::Hedge, &[], &[Hangs, Hangs]).await.won, Err(ErrorClass::Timeout));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_cancels_every_racer() {
        let grounds = Grounds { script: vec![Hangs, Answers(50, 1.0), Hangs], ..Grounds::default() };
        let racers: Vec<Racer> = (0..3).map(|n| Racer { name: format!("r{n}"), standing: 0.5, patience: ms(1) }).collect();
        let race = Race { provider: "v", strategy: RaceStrategy::Weighted, timeout: ms(1_000), grace: ms(500), racers: &racers };
        START
            .scope(Instant::now(), async {
                assert!(tokio::time::timeout(ms(100), run(&race, &&grounds)).await.is_err());
                assert_eq!(grounds.alive.load(Ordering::Relaxed), 0);
            })
            .await;
    }
}
