//! A picture of lines: with a white ground, so that it can be read on a dark page, colours that the colour-blind can
//! tell apart (after Okabe and Ito, "Color Universal Design", 2008), names at the lines' ends, and text that stays text.

use std::ops::Range;

use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

pub(super) const BLUE: RGBColor = RGBColor(0, 114, 178);
pub(super) const GREEN: RGBColor = RGBColor(0, 158, 115);
pub(super) const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub(super) const PURPLE: RGBColor = RGBColor(170, 68, 153);
pub(super) const GREY: RGBColor = RGBColor(100, 100, 100);

const SIZE: (u32, u32) = (860, 540);
const FONT: &str = "sans-serif";
const TITLE_SIZE: u32 = 20;
const TEXT_SIZE: u32 = 15;
/// Room for the title, and for the numbers beside the vertical axis
const TOP: u32 = 48;
const LEFT: u32 = 58;
/// Room for the names at the lines' ends
const NAMES_WIDTH: u32 = 130;
/// Names do not come nearer to each other than this
const NAME_HEIGHT: i32 = 17;
/// Where the key's first line begins, from the picture's corner, and how long its samples are
const KEY: (i32, i32) = (86, 70);
const KEY_SAMPLE: i32 = 34;
const KEY_STEP: i32 = 20;

/// How a line is drawn
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stroke {
    /// With a dot at each point
    Dots,
    Plain,
    Dashed,
}

#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) color: RGBColor,
    pub(super) stroke: Stroke,
    /// The points from left to right
    pub(super) points: Vec<(f64, f64)>,
    /// Written at its right end
    pub(super) name: Option<String>,
}

pub(super) struct Axis {
    /// What it shows, with the unit
    pub(super) title: String,
    pub(super) range: Range<f64>,
    /// About so many numbers
    pub(super) numbers: usize,
    /// How a number is written
    pub(super) write: fn(f64) -> String,
}

pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    /// What strokes mean, in grey, from the top
    pub(super) key: Vec<(Stroke, String)>,
    /// Whether the key is at the bottom: at the top lines are in its way
    pub(super) is_key_low: bool,
}

impl Chart {
    /// The picture as SVG
    ///
    /// # Errors
    /// In words; a string takes every picture, so there are none but those of the library.
    pub(super) fn svg(&self) -> Result<String, String> {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        self.draw(&root).map_err(|error| error.to_string())?;
        root.present().map_err(|error| error.to_string())?;
        drop(root);
        Ok(svg)
    }

    fn draw<'a>(&self, root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>) -> Drawn<'a> {
        root.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(root)
            .margin(12)
            .margin_top(TOP)
            .margin_right(NAMES_WIDTH)
            .x_label_area_size(48)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(self.x.range.clone(), self.y.range.clone())?;
        chart
            .configure_mesh()
            .light_line_style(TRANSPARENT)
            .bold_line_style(RGBColor(225, 225, 225))
            .axis_style(GREY)
            .label_style((FONT, TEXT_SIZE))
            .axis_desc_style((FONT, TEXT_SIZE))
            .x_desc(&self.x.title)
            .y_desc(&self.y.title)
            .x_labels(self.x.numbers)
            .y_labels(self.y.numbers)
            .x_label_formatter(&|x| (self.x.write)(*x))
            .y_label_formatter(&|y| (self.y.write)(*y))
            .draw()?;
        for line in &self.lines {
            let points = line.points.iter().copied();
            match line.stroke {
                Stroke::Dashed => chart.draw_series(DashedLineSeries::new(points, 5, 4, line.color.stroke_width(1)))?,
                Stroke::Plain => chart.draw_series(LineSeries::new(points, line.color.stroke_width(2)))?,
                Stroke::Dots => {
                    chart.draw_series(LineSeries::new(points.clone(), line.color.stroke_width(2)))?;
                    chart.draw_series(points.map(|point| Circle::new(point, 3, line.color.filled())))?
                }
            };
        }
        let ends = self.lines.iter().filter_map(|line| {
            let ((x, y), name) = (*line.points.last()?, line.name.as_deref()?);
            Some((chart.backend_coord(&(x, y)), name, line.color))
        });
        for ((x, y), name, color) in apart(ends.collect()) {
            root.draw(&Text::new(name.to_owned(), (x + 8, y), text_style(&color)))?;
        }
        let title = TextStyle { font: (FONT, TITLE_SIZE).into_font(), ..text_style(&BLACK) };
        root.draw(&Text::new(self.title.clone(), (LEFT as i32 + 12, 24), title))?;
        self.draw_key(root)
    }

    fn draw_key<'a>(&self, root: &DrawingArea<SVGBackend<'a>, plotters::coord::Shift>) -> Drawn<'a> {
        let top = if self.is_key_low { SIZE.1 as i32 - 72 - KEY_STEP * self.key.len() as i32 } else { KEY.1 };
        for ((stroke, text), row) in self.key.iter().zip(0..) {
            let y = top + KEY_STEP * row;
            let (x, end) = (KEY.0, KEY.0 + KEY_SAMPLE);
            match stroke {
                Stroke::Dashed => {
                    root.draw(&DashedPathElement::new([(x, y), (end, y)], 5, 4, GREY.stroke_width(1)))?;
                }
                Stroke::Plain | Stroke::Dots => {
                    root.draw(&PathElement::new([(x, y), (end, y)], GREY.stroke_width(2)))?;
                }
            }
            if *stroke == Stroke::Dots {
                root.draw(&Circle::new(((x + end) / 2, y), 3, GREY.filled()))?;
            }
            root.draw(&Text::new(text.clone(), (end + 8, y), text_style(&GREY)))?;
        }
        Ok(())
    }
}

type Drawn<'a> = Result<(), DrawingAreaErrorKind<<SVGBackend<'a> as DrawingBackend>::ErrorType>>;

/// On the left of it and in the middle of its height is where it was put
fn text_style(color: &RGBColor) -> TextStyle<'_> {
    TextStyle::from((FONT, TEXT_SIZE)).color(color).pos(Pos::new(HPos::Left, VPos::Center))
}

/// Names moved down until none is on another
fn apart<T>(mut names: Vec<((i32, i32), T, RGBColor)>) -> Vec<((i32, i32), T, RGBColor)> {
    names.sort_by_key(|((_, y), ..)| *y);
    let mut least = i32::MIN;
    for ((_, y), ..) in &mut names {
        *y = (*y).max(least);
        least = *y + NAME_HEIGHT;
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_apart_in_their_order() {
        let names = apart(vec![((0, 50), 'b', BLUE), ((0, 48), 'a', BLUE), ((0, 200), 'c', BLUE)]);
        let places: Vec<_> = names.iter().map(|((_, y), name, _)| (*y, *name)).collect();
        assert_eq!(places, [(48, 'a'), (48 + NAME_HEIGHT, 'b'), (200, 'c')]);
    }
}
