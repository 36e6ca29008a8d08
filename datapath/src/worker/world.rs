//! Everything, as the workers' threads share it: in turns side by side, or one of them alone.

use std::cell::UnsafeCell;
use std::sync::Arc;

use super::engine::Engine;
use super::fabric::Fabric;
use super::gate::Gate;
use super::local::Local;
use super::turn::Turn;

struct World {
    gate: Gate,
    engine: UnsafeCell<Engine>,
}

// SAFETY: the engine is reached by the `Worker`s only. One that is alone has all of it; those in their turns share the
// fabric, and each has the `Local` of its number, of which there is one.
unsafe impl Sync for World {}
unsafe impl Send for World {}

const _: () = {
    const fn shared<T: Sync>() {}
    const fn moved<T: Send>() {}
    shared::<Fabric>();
    moved::<Local>();
    moved::<Engine>();
};

/// One worker's access.
pub struct Worker {
    world: Arc<World>,
    number: usize,
}

/// An engine's workers, one for each of its desks.
pub fn employ(engine: Engine) -> Vec<Worker> {
    let count = engine.crew.desks.len();
    let world = Arc::new(World { gate: Gate::new(count), engine: UnsafeCell::new(engine) });
    (0..count).map(|number| Worker { world: world.clone(), number }).collect()
}

impl Worker {
    pub fn number(&self) -> usize {
        self.number
    }

    /// Works in a turn, beside the others.
    #[inline]
    pub fn turn<R>(&mut self, work: impl FnOnce(&mut Turn<'_>) -> R) -> R {
        let _inside = self.world.gate.enter(self.number);
        // SAFETY: while we are inside nobody is alone, so the engine is only shared.
        let engine = unsafe { &*self.world.engine.get() };
        // SAFETY: no other `Worker` has this number, and this one is borrowed for the turn.
        let local = unsafe { &mut *engine.locals[self.number].get() };
        work(&mut Turn { fabric: &engine.fabric, local, crew: &engine.crew, me: self.number })
    }

    /// Does something alone, once the others' turns have ended. As `self` is borrowed in a turn, it cannot be called there.
    pub fn alone<R>(&mut self, work: impl FnOnce(&mut Engine) -> R) -> R {
        let _alone = self.world.gate.alone();
        // SAFETY: no worker is in a turn, and no other one is alone.
        let engine = unsafe { &mut *self.world.engine.get() };
        engine.me = self.number;
        work(engine)
    }
}
