//! OpenAI's sizes as Google's.
//!
//! A class (`1K`, `2K`, `4K`) says how many pixels a square has; other shapes have about as many. `1K` is everybody's
//! default and goes without saying. A wish for high quality is one for `2K`, unless the size is said.

use super::request::Asked;
use crate::dialect::conversation::Untranslatable;

/// A shape, and its width by its height.
type Ratio = (&'static str, f64);

/// Of Gemini's image models.
pub const GEMINI: [Ratio; 10] = [
    ("1:1", 1.0),
    ("2:3", 2.0 / 3.0),
    ("3:2", 1.5),
    ("3:4", 0.75),
    ("4:3", 4.0 / 3.0),
    ("4:5", 0.8),
    ("5:4", 1.25),
    ("9:16", 9.0 / 16.0),
    ("16:9", 16.0 / 9.0),
    ("21:9", 21.0 / 9.0),
];

/// Of Imagen.
pub const IMAGEN: [Ratio; 5] =
    [("1:1", 1.0), ("3:4", 0.75), ("4:3", 4.0 / 3.0), ("9:16", 9.0 / 16.0), ("16:9", 16.0 / 9.0)];

/// A shape further from the wanted one than this is another picture.
const MOST_OFF: f64 = 1.2;

/// A class whose side is shorter than the wanted one by more than this is too small: 1792x1024 is still `1K`, and
/// 3840x2160 is `4K`.
const MOST_SHORT: f64 = 4.0 / 3.0;

/// What is asked of Google.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// The shape; the model's choice where there is none.
    pub ratio: Option<&'static str>,
    /// The class, if it is not the least.
    pub class: Option<&'static str>,
}

impl Size {
    /// The size for a model that draws these shapes, up to the class of `largest` times 1024 pixels.
    ///
    /// # Errors
    /// It draws nothing like it.
    pub fn of(asked: &Asked, ratios: &[Ratio], largest: u32) -> Result<Self, Untranslatable> {
        let Some(size) = asked.size.as_deref().filter(|size| *size != "auto") else {
            let wishes = matches!(asked.quality.as_deref(), Some("high" | "hd" | "xhigh" | "max"));
            return Ok(Self { ratio: None, class: (wishes && largest > 1).then_some("2K") });
        };
        let found = pixels(size).and_then(|(width, height)| {
            let class = class((width * height).sqrt())?;
            Some((nearest(width / height, ratios)?, class))
        });
        let Some((ratio, (times, class))) = found.filter(|(_, (times, _))| *times <= largest) else {
            let why = format!("This model draws nothing like {size}; try `auto` or `1024x1024`.");
            return Err(Untranslatable::new("size", why));
        };
        Ok(Self { ratio: Some(ratio), class: (times > 1).then_some(class) })
    }
}

fn pixels(size: &str) -> Option<(f64, f64)> {
    let (width, height) = size.split_once('x')?;
    let side = |side: &str| side.parse::<u16>().ok().filter(|side| *side > 0).map(f64::from);
    Some((side(width)?, side(height)?))
}

fn class(side: f64) -> Option<(u32, &'static str)> {
    let classes = [(1, "1K"), (2, "2K"), (4, "4K")];
    let reaches = |times: u32| 1024.0 * f64::from(times) * MOST_SHORT;
    classes.into_iter().find(|(times, _)| side <= reaches(*times))
}

fn nearest(wanted: f64, ratios: &[Ratio]) -> Option<&'static str> {
    let off = |(_, ratio): &&Ratio| (wanted / ratio).max(ratio / wanted);
    let best = ratios.iter().min_by(|a, b| off(a).total_cmp(&off(b)))?;
    (off(&best) <= MOST_OFF).then_some(best.0)
}
