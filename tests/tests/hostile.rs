//! Strangers on every socket of a running bank: nonsense, lies about lengths, halves, and slowness. They are shown the
//! door, and nobody else notices.
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::Duration;

use raftbank_tests::cluster::{Cluster, PATIENCE, Plan};
use raftbank_tests::history;
use raftbank_tests::load::{Load, LoadPlan};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{sleep, timeout};

/// What a stranger does after it has connected.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Random bytes.
    Noise(u64),
    /// A frame that says it has 4 GiB.
    Huge,
    /// Half a frame, and then nothing more.
    Half,
    /// One byte at a time, for longer than anyone waits.
    Slow,
    /// Nothing at all.
    Silent,
}

const ATTACKS: [Attack; 6] =
    [Attack::Noise(1), Attack::Noise(2), Attack::Huge, Attack::Half, Attack::Slow, Attack::Silent];

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

#[derive(Clone, Debug)]
enum Target {
    Unix(PathBuf),
    Tcp(std::net::SocketAddr),
}

impl Target {
    async fn connect(&self) -> Box<dyn Stream> {
        match self {
            Self::Unix(path) => Box::new(UnixStream::connect(path).await.unwrap()),
            Self::Tcp(address) => Box::new(TcpStream::connect(address).await.unwrap()),
        }
    }
}

/// Attacks, and waits until the other side has closed the connection; the bytes that it answered.
async fn attack(target: Target, attack: Attack) -> usize {
    let stream = target.connect().await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    // A write fails once the other side has closed; that is what is waited for.
    let writing = async move {
        match attack {
            Attack::Noise(seed) => {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let bytes: Vec<u8> = (0..100_000).map(|_| rng.random()).collect();
                let _ = writer.write_all(&bytes).await;
            }
            Attack::Huge => {
                let _ = writer.write_all(&[0xff; 4]).await;
                let _ = writer.write_all(&[0; 4_096]).await;
            }
            Attack::Half => {
                let _ = writer.write_all(&[0, 0, 0, 60, 1, 2, 3]).await;
            }
            Attack::Slow => {
                let frame = [&[0, 0, 1, 0][..], &[b'x'; 256]].concat();
                for byte in frame {
                    if writer.write_all(&[byte]).await.is_err() {
                        break;
                    }
                    sleep(Duration::from_millis(500)).await;
                }
            }
            Attack::Silent => {}
        }
        // Held open: it is the other side that must close.
        writer
    };
    let reading = async {
        let mut answered = 0;
        let mut buffer = [0; 4_096];
        loop {
            match reader.read(&mut buffer).await {
                Ok(0) | Err(_) => return answered,
                Ok(count) => answered += count,
            }
        }
    };
    let both = async {
        let mut writing = std::pin::pin!(writing);
        tokio::select! {
            answered = reading => answered,
            () = async { let _writer = (&mut writing).await; std::future::pending::<()>().await } => 0,
        }
    };
    timeout(PATIENCE, both).await.unwrap_or_else(|_| panic!("{attack:?} at {target:?} was not closed"))
}

#[tokio::test]
async fn strangers_harm_nobody() {
    let mut cluster = Cluster::start(Plan::new(3).unwrap()).await.unwrap();
    cluster.leader().await.unwrap();
    let load = Load::start(&LoadPlan {
        sockets: cluster.sockets(),
        clients: 6,
        seed: 3,
        accounts: 4,
        amount_max: 10,
        prefix: "calm".to_owned(),
        timeout: Duration::from_secs(5),
        mixed: true,
        reads: 0.3,
        rest: Duration::ZERO,
    });
    let mut targets: Vec<Target> = cluster.sockets().into_iter().map(Target::Unix).collect();
    targets.push(Target::Unix(cluster.relay_socket()));
    targets.push(Target::Tcp(cluster.listen()));
    let attacks: Vec<_> = targets
        .iter()
        .flat_map(|target| ATTACKS.map(|kind| (target.clone(), kind)))
        .map(|(target, kind)| tokio::spawn(async move { (kind, attack(target, kind).await) }))
        .collect();
    assert!(load.progress(300, PATIENCE).await, "others are not served\n{}", cluster.logs());
    for attack in attacks {
        let (kind, answered) = attack.await.unwrap();
        // Nonsense is answered in words before the connection is closed.
        if matches!(kind, Attack::Huge) {
            assert!(answered > 0, "{kind:?} was closed without a word");
        }
        assert!(load.progress(1, PATIENCE).await, "others are not served\n{}", cluster.logs());
    }
    assert_eq!(cluster.casualties(), Vec::<String>::new(), "{}", cluster.logs());
    let attempts = load.finish().await.unwrap();
    let summary = history::check(&mut cluster, &attempts).await.unwrap();
    println!("{summary:?}");
    assert_eq!(summary.not_executed + summary.unknown, 0, "a client was refused: {summary:?}\n{}", cluster.logs());
    assert!(!cluster.logs().contains("panicked"), "{}", cluster.logs());
}
