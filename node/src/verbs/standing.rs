//! What stands until Ctrl-C, for `forward`, `socks` and `expose`.

use kith_runtime::cli::{Screen, Stop};
use kith_runtime::control::client;
use kith_runtime::control::peer::{Request, TunnelAnswer, TunnelLine};
use kith_runtime::home::Home;

/// Asks for it, says that it stands, and waits until the daemon ends it; whoever ends this process has ended it
pub(super) fn run(
    home: &Home,
    screen: &mut Screen,
    request: &Request,
    told: impl FnOnce(&str) -> String,
) -> Result<u8, Stop> {
    let mut told = Some(told);
    for line in client::open(home, request, None)? {
        let line = line?;
        if line.status.is_some() {
            return Ok(line.done::<TunnelAnswer>()?.status.exit_code());
        }
        let TunnelLine { at, .. } = line.parse()?;
        if let Some(told) = told.take() {
            screen.show(&line, || told(&at.unwrap_or_default()))?;
        }
    }
    Ok(0)
}
