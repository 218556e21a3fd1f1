use super::*;
use crate::stats::Share;

fn options(peers: &[usize]) -> Options {
    Options {
        peers: peers.to_vec(),
        degrees: vec![8, 24],
        pairs: 900,
        load_pairs: 500,
        day_peers: 150,
        seed: 1,
        seeds: 3,
        threads: Some(2),
        json: false,
    }
}

#[test]
fn table_has_every_figure_of_every_size() {
    let table = measure(&options(&[100, 200]));
    assert!(table.rows.iter().all(|row| row.cells.len() == 2), "{table:#?}");
    let row = |name: &str| &table.rows.iter().find(|row| row.name.starts_with(name)).unwrap().cells;
    assert!(row("mean hops")[0][0].measured < row("mean hops")[1][0].measured, "a larger ring is wider");
    assert!(row("ratio to the Moore bound").iter().all(|cell| (1.0..1.3).contains(&cell[0].measured)));
    assert!(row("30 % dead").iter().all(|cell| cell[0].measured > 0.95 && cell[0].bounds95.is_some()));
    assert!(row("join: links opened").iter().all(|cell| cell[0].measured > 10.0));
    assert_eq!(row("mean hops after a day").iter().map(Vec::len).collect::<Vec<_>>(), [1, 0], "of small sizes only");
    assert!(row("forwarding load").iter().all(Vec::is_empty), "of one size only");
    // Higher degrees are at the largest size, and nearer.
    assert_eq!(table.degrees.iter().map(|(degree, _)| *degree).collect::<Vec<_>>(), [8, 16, 24]);
    assert!(table.degrees.is_sorted_by(|(_, a), (_, b)| a.measured > b.measured));
    let lines = report::markdown(&table);
    assert_eq!(lines.len(), table.rows.len() + 8);
    assert!(lines.last().is_some_and(|line| line.ends_with(" goals missed.")), "{lines:#?}");
    assert!(lines[0] == "| peers | 100 | 200 |" && lines.iter().all(|line| !line.contains("NaN")));
}

#[test]
fn goals_are_those_of_the_size() {
    let table = measure(&Options { degrees: Vec::new(), ..options(&[1_000]) });
    let mean = table.rows[0].cells[0][0];
    assert!(mean.goal == Some(Goal::AtMost(2.88)) && !mean.missed, "{mean:?}");
    assert_eq!(table.degrees, [(16, mean)]);
    let mut missed = Table { rows: Vec::new(), ..table };
    assert_eq!(missed.goals(), (1, 0));
    missed.degrees[0].1 = mean.aim(Some(Goal::AtMost(1.0)));
    assert_eq!(missed.goals(), (1, 1));
}

#[test]
fn packets_that_do_not_arrive_in_a_whole_ring_miss_a_goal() {
    let whole = routes::measure(&of_routes(&options(&[100]), 100)).0;
    let missed = |figures: [Vec<Figure>; 2]| figures.concat().iter().filter(|figure| figure.missed).count();
    assert_eq!(missed(arrivals([&whole, &whole], whole.lost)), 0);
    // A tenth comes back, and one packet is gone.
    let mut leaky = whole.clone();
    leaky.all.within = [Share::of(9, 10); 3];
    assert_eq!(missed(arrivals([&leaky, &whole], 1)), 2);
}
