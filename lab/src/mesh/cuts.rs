//! Nodes that are cut off from each other, and healed.

use std::net::Ipv4Addr;
use std::process::Command;

use super::Lab;
use crate::error::LabError;
use crate::net::{self, Cut, Net};
use crate::process::Condition;
use crate::role;
use crate::state::{Process, State};

impl Lab {
    /// Cuts each of `these` off from each of `those`: nothing that one sends reaches the other, nor the other way round
    /// unless it is `one_way`
    ///
    /// # Errors
    /// The lab's nodes have no networks of their own, or there is none of that name. Some may be cut off then.
    pub fn cut(&self, these: &[String], those: &[String], one_way: bool) -> Result<(), LabError> {
        let named =
            |names: &[String]| names.iter().map(|name| Ok(self.node(name)?.name)).collect::<Result<Vec<_>, LabError>>();
        let (these, those) = (named(these)?, named(those)?);
        let mut cuts = Vec::new();
        for from in &these {
            for to in those.iter().filter(|to| *to != from) {
                cuts.push(Cut { from: from.clone(), to: to.clone() });
                if !one_way {
                    cuts.push(Cut { from: to.clone(), to: from.clone() });
                }
            }
        }
        let state = self.netted()?;
        // Written down first: who starts in between is cut off by its own start.
        self.book.change_net(|net| {
            net.cuts.extend(cuts.iter().cloned());
            net.cuts.sort();
            net.cuts.dedup();
        })?;
        let Some(net) = &state.net else { return Ok(()) };
        for Cut { from, to } in &cuts {
            let (Some(from), Some(node)) = (address_of(&state, from), state.process(to)) else { continue };
            if let Some(process) = node.process.filter(|_| node.condition() != Condition::Ended) {
                net.cut(process, from)?;
            }
        }
        Ok(())
    }

    /// Undoes all cuts
    ///
    /// # Errors
    /// The lab's nodes have no networks of their own; or one cannot be entered, and some may be cut off still.
    pub fn heal(&self) -> Result<(), LabError> {
        let state = self.netted()?;
        self.book.change_net(|net| net.cuts.clear())?;
        let Some(net) = &state.net else { return Ok(()) };
        let live = state.processes.iter().filter(|process| process.condition() != Condition::Ended);
        live.filter_map(|process| process.process).try_for_each(|process| net.heal(process))
    }

    /// The state of a lab whose nodes have networks of their own
    fn netted(&self) -> Result<State, LabError> {
        let state = self.state()?;
        match &state.net {
            Some(net) if net.hub.condition() != Condition::Ended => Ok(state),
            _ => Err(LabError::NoNetworks(self.dir().to_owned())),
        }
    }

    /// `command`, which starts `process`, in a network of its own if the lab has such
    pub(super) fn in_its_network(&self, process: &Process, command: Command) -> Result<Command, LabError> {
        let state = self.state()?;
        let (Some(net), Some(address)) = (&state.net, address_of(&state, &process.name)) else { return Ok(command) };
        let deaf = net.cuts.iter().filter(|cut| cut.to == process.name);
        let deaf: Vec<Ipv4Addr> = deaf.filter_map(|cut| address_of(&state, &cut.from)).collect();
        Ok(net.wrapped(&command, address, &deaf))
    }

    /// Where the node listens that is started as the `index`-th: at a port that the system chooses
    pub(super) fn any_port(&self, index: usize) -> String {
        match self.state().ok().and_then(|state| state.net) {
            Some(_) => format!("/ip4/{}{}", net::address(index), role::ANY_PORT_END),
            None => role::ANY_PORT.to_owned(),
        }
    }

    /// Makes the bridge that the networks of this lab's nodes are on
    pub(super) fn start_networks(&self) -> Result<(), LabError> {
        let (child, hub) = net::start_hub(self.options.tied, self.options.inside)?;
        self.keep(child);
        self.book.begin_net(Net { hub, cuts: Vec::new() })
    }
}

/// Where a node is in the lab's own networks
pub(super) fn address_of(state: &State, name: &str) -> Option<Ipv4Addr> {
    let index = state.processes.iter().position(|process| process.name == name)?;
    state.net.is_some().then(|| net::address(index))
}
