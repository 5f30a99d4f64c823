//! What one load came to, what one round came to, and clients that are driven in a closed loop.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::host;

/// What is not counted at the begin of each load: connections, caches, first blocks.
pub(crate) const WARM_UP: Duration = Duration::from_millis(500);
/// How long a load may take beyond its time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What one load came to. Times in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Sample {
    /// How many times were measured.
    pub count: usize,
    /// What was done in a second.
    pub rate: f64,
    /// Half took no longer.
    pub p50_us: f64,
    /// 99 % took no longer.
    pub p99_us: f64,
    /// The longest.
    pub worst_us: f64,
    /// Processor time of the client's process, in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_cores: Option<f64>,
}

impl Sample {
    /// From single times, and what was done in a second.
    ///
    /// # Errors
    /// There are none.
    pub(crate) fn new(mut times: Vec<Duration>, rate: f64) -> Result<Self> {
        times.sort_unstable();
        let at = |percent: usize| Some(times.get((times.len().checked_sub(1)?) * percent / 100)?.as_secs_f64() * 1e6);
        let all = at(50).zip(at(99)).zip(at(100)).context("nothing was done in the time that was measured")?;
        let ((p50_us, p99_us), worst_us) = all;
        Ok(Self { count: times.len(), rate, p50_us, p99_us, worst_us, client_cores: None })
    }

    /// From times of things that were done one after the other.
    pub(crate) fn sequence(times: Vec<Duration>) -> Result<Self> {
        let all: Duration = times.iter().sum();
        let rate = times.len() as f64 / all.as_secs_f64().max(1e-9);
        Self::new(times, rate)
    }
}

/// The single times of one load, not yet summed up: parts of a load can be put together.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    times: Vec<Duration>,
    time: Duration,
    client: Duration,
}

impl Measured {
    /// More of the same load.
    pub(crate) fn append(&mut self, other: Self) {
        self.times.extend(other.times);
        self.time += other.time;
        self.client += other.client;
    }

    /// # Errors
    /// Nothing was done in the time.
    pub(crate) fn sample(self) -> Result<Sample> {
        let time = self.time.as_secs_f64();
        let rate = self.times.len() as f64 / time;
        let client_cores = Some(self.client.as_secs_f64() / time);
        Ok(Sample { client_cores, ..Sample::new(self.times, rate)? })
    }
}

/// What one round came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Round {
    /// By load.
    pub samples: BTreeMap<&'static str, Sample>,
    /// Single values, by what they are: milliseconds of each kill, percent of a core of each idle process.
    pub values: BTreeMap<&'static str, Vec<f64>>,
}

/// The middle, the least and the most.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number the mean of the two in the middle.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The most.
    pub max: f64,
}

impl Spread {
    /// None: there are no values.
    pub(crate) fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let middle = values.len() / 2;
        let (&min, &max, &upper) = (values.first()?, values.last()?, values.get(middle)?);
        let median = if values.len().is_multiple_of(2) { f64::midpoint(values[middle - 1], upper) } else { upper };
        Some(Self { median, min, max })
    }
}

/// A client that has one request under way.
pub(crate) trait Teller: Send + 'static {
    /// Asks once, and waits for the answer.
    fn ask(&mut self) -> impl Future<Output = Result<()>> + Send;
}

/// All clients ask again and again, for so long after the warm-up.
///
/// # Errors
/// The first error of any client; or one is not done long after the time.
pub(crate) async fn drive<T: Teller>(tellers: Vec<T>, time: Duration) -> Result<Measured> {
    let from = Instant::now() + WARM_UP;
    let until = from + time;
    // When dropped, it ends the clients.
    let mut tasks = JoinSet::new();
    for teller in tellers {
        tasks.spawn(work(teller, from, until));
    }
    let watch = async {
        sleep_until(from).await;
        let before = host::own_processor_time()?;
        sleep_until(until).await;
        Ok::<_, anyhow::Error>(host::own_processor_time()? - before)
    };
    let collect = async {
        let mut times = Vec::new();
        while let Some(done) = tasks.join_next().await {
            times.extend(done.context("a client")??);
        }
        Ok::<_, anyhow::Error>(times)
    };
    let both = async { tokio::try_join!(watch, collect) };
    let (client, times) = timeout_at(until + PATIENCE, both)
        .await
        .context("some clients still waited for answers long after the end")??;
    Ok(Measured { times, time, client })
}

async fn work<T: Teller>(mut teller: T, from: Instant, until: Instant) -> Result<Vec<Duration>> {
    let mut times = Vec::new();
    loop {
        let sent = Instant::now();
        if sent >= until {
            return Ok(times);
        }
        teller.ask().await?;
        let known = Instant::now();
        if sent >= from && known <= until {
            times.push(known - sent);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times = (1..=101).rev().map(Duration::from_micros).collect();
        let sample = Sample::new(times, 7.0).unwrap();
        assert_eq!((sample.count, sample.rate), (101, 7.0));
        let near = |value: f64, wanted: f64| (value - wanted).abs() < 1e-6;
        assert!(near(sample.p50_us, 51.0) && near(sample.p99_us, 100.0) && near(sample.worst_us, 101.0), "{sample:?}");
        assert!(Sample::new(Vec::new(), 0.0).is_err());
    }

    #[test]
    fn parts_of_a_load_are_one_load() {
        let part = |times: &[u64], time, client| Measured {
            times: times.iter().copied().map(Duration::from_micros).collect(),
            time: Duration::from_secs(time),
            client: Duration::from_secs(client),
        };
        let mut whole = Measured::default();
        whole.append(part(&[5, 1], 1, 1));
        whole.append(part(&[3], 2, 0));
        let sample = whole.sample().unwrap();
        assert_eq!((sample.count, sample.rate, sample.client_cores), (3, 1.0, Some(1.0 / 3.0)));
        assert!((sample.p50_us - 3.0).abs() < 1e-6, "{sample:?}");
    }

    #[test]
    fn the_median_of_an_even_number_lies_between() {
        let spread = |values: &[f64]| Spread::of(values.to_vec());
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[4.0, 1.0, 3.0, 2.0]), Some(Spread { median: 2.5, min: 1.0, max: 4.0 }));
        assert_eq!(spread(&[9.0, 1.0, 2.0]), Some(Spread { median: 2.0, min: 1.0, max: 9.0 }));
    }

    /// Counts what it is asked, and fails after a while.
    struct Sleeper(Arc<AtomicU32>, u32);

    impl Teller for Sleeper {
        async fn ask(&mut self) -> Result<()> {
            tokio::time::sleep(Duration::from_millis(1)).await;
            self.0.fetch_add(1, Ordering::Relaxed);
            self.1 = self.1.checked_sub(1).context("no more")?;
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_warm_up_is_not_counted_and_errors_are_told() {
        let asked = Arc::new(AtomicU32::new(0));
        let tellers = |left| vec![Sleeper(Arc::clone(&asked), u32::MAX), Sleeper(Arc::clone(&asked), left)];
        let sample = drive(tellers(u32::MAX), Duration::from_millis(200)).await.unwrap().sample().unwrap();
        assert!(sample.count > 0 && sample.count < asked.load(Ordering::Relaxed) as usize, "{sample:?}");
        let error = drive(tellers(3), Duration::from_secs(20)).await.unwrap_err();
        assert_eq!(error.to_string(), "no more");
    }
}
