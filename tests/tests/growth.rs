//! `growth` with tiny sizes, from the folders to the plots.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use raftbank_tests::growth::{Options, run};

/// Figures that are drawn over each axis.
const FIGURES: [&str; 5] = ["throughput", "memory", "start", "disk", "written"];

#[tokio::test]
async fn tiny_banks_are_measured_and_drawn() -> Result<()> {
    let options = Options {
        blocks: vec![200, 100],
        accounts: vec![50, 400],
        time: Duration::from_millis(300),
        pairs: 1,
        starts: 1,
        patience: Duration::from_secs(120),
    };
    let report = run(&options).await?;
    ensure!(report.skipped.is_empty(), "{:?}", report.skipped);
    let sizes: Vec<_> = report.blocks.iter().map(|point| (point.size, point.blocks, point.accounts)).collect();
    assert_eq!(sizes, [(100, 100, 100), (200, 200, 200)]);
    let sizes: Vec<_> = report.accounts.iter().map(|point| (point.size, point.blocks, point.accounts)).collect();
    assert_eq!(sizes, [(50, 50, 50), (400, 400, 400)]);
    for point in report.blocks.iter().chain(&report.accounts) {
        // Two requests for each account that is not in the genesis file, all in one block; then one in each.
        assert_eq!(point.requests, 2 * (point.accounts - 4) + point.blocks - 1);
        ensure!(point.request_bytes > 10 * point.requests && point.folder_bytes > 0, "{point:?}");
        ensure!(point.transfers > 0 && point.ratio.median > 0.0 && point.start_s.median > 0.0, "{point:?}");
        ensure!(point.memory_bytes.iter().all(|bytes| *bytes > 0) && point.written_per_transfer > 0.0, "{point:?}");
    }
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("growth.json");
    std::fs::write(&file, serde_json::to_string(&report)?)?;
    let plots = dir.path().join("plots");
    draw(&file, &plots)?;
    for axis in ["blocks", "accounts"] {
        for figure in FIGURES {
            well_formed(&plots.join(format!("growth-{axis}-{figure}.svg")), 2)?;
        }
    }
    Ok(())
}

#[test]
fn the_plots_in_the_documentation_are_those_of_the_figures_beside_them() -> Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/plots");
    let dir = tempfile::tempdir()?;
    draw(&docs.join("growth.json"), dir.path())?;
    let mut drawn = 0;
    for entry in std::fs::read_dir(dir.path())? {
        let entry = entry?;
        let kept = docs.join(entry.file_name());
        ensure!(std::fs::read(entry.path())? == std::fs::read(&kept)?, "draw {} anew", kept.display());
        drawn += 1;
    }
    assert_eq!(drawn, 2 * FIGURES.len());
    Ok(())
}

fn draw(file: &Path, folder: &Path) -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("growth/plot.py");
    let output = Command::new("python3").arg(script).arg(file).arg(folder).output().context("python3")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// A picture that a strict reader takes, with so many points, all of them inside.
fn well_formed(file: &Path, points: usize) -> Result<()> {
    const CHECK: &str = "
import sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
name = '{http://www.w3.org/2000/svg}'
_, _, width, height = map(float, root.get('viewBox').split())
points = [(float(p.get('cx')), float(p.get('cy'))) for p in root.iter(name + 'circle')]
assert root.tag == name + 'svg', root.tag
assert len(points) == int(sys.argv[2]), points
assert all(0 < x < width and 0 < y < height for x, y in points), points
assert len({x for x, _ in points}) == len(points), points
line = root.find(name + 'polyline').get('points').split()
assert len(line) == len(points), line
";
    let points = points.to_string();
    let output = Command::new("python3").args(["-c", CHECK]).arg(file).arg(points).output().context("python3")?;
    ensure!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&output.stderr));
    Ok(())
}
