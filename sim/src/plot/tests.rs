use super::*;

fn options() -> Options {
    let out = PathBuf::new();
    Options { out, max_peers: 300, dead_peers: 3000, pairs: 400, seed: 1, threads: Some(2) }
}

/// How often a word is in the text elements of a picture
fn count(svg: &str, word: &str) -> usize {
    svg.lines().filter(|line| line.trim() == word).count()
}

#[test]
fn hops_are_drawn_for_every_degree_beside_their_bounds() {
    let chart = hops::chart(&options());
    let svg = chart.svg().unwrap();
    for degree in ["degree 8", "degree 12", "degree 16", "degree 24", "mean hops", "Chord: ½ log₂ n"] {
        assert_eq!(count(&svg, degree), 1, "{degree}");
    }
    let measured = chart.lines.iter().filter(|line| line.stroke == chart::Stroke::Dots);
    let bounds = chart.lines.iter().filter(|line| line.stroke == chart::Stroke::Dashed);
    for (line, bound) in measured.zip(bounds) {
        assert!(line.points.len() == 2 && line.color == bound.color);
        assert!(line.points.iter().zip(&bound.points).all(|((_, hops), (_, least))| hops > least));
    }
}

#[test]
fn deliveries_are_drawn_down_from_all() {
    let chart = dead::chart(&options());
    let svg = chart.svg().unwrap();
    assert!(count(&svg, "in 32 hops") == 1 && count(&svg, "in 128 hops") == 1 && count(&svg, "peers dead, %") == 1);
    assert!(svg.starts_with("<svg") && !svg.contains("NaN"));
    let [_, in_128, in_32] = chart.lines.as_slice() else { panic!("three lines") };
    assert!(in_128.points[0].1 == 100.0 && in_32.points[0].1 == 100.0);
    assert!(in_128.points.iter().zip(&in_32.points).all(|((_, more), (_, less))| more >= less));
    assert!(in_32.points.last().unwrap().1 < 100.0);
}

#[test]
fn what_cannot_be_written_is_told() {
    let file = std::env::current_exe().unwrap();
    assert!(draw(&Options { out: file.join("below-a-file"), ..options() }).is_err());
}
