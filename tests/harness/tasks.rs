//! Tasks that end with their owner.

use std::sync::{Arc, Mutex, Weak};

use tokio::task::JoinSet;

/// Tasks that are aborted when this is dropped.
#[derive(Debug, Default)]
pub struct Tasks(Arc<Mutex<JoinSet<()>>>);

impl Tasks {
    /// Starts a task.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.spawner().spawn(task);
    }

    /// For whoever starts tasks later; it does not keep them alive.
    pub fn spawner(&self) -> Spawner {
        Spawner(Arc::downgrade(&self.0))
    }
}

/// Starts tasks that belong to a [`Tasks`].
#[derive(Debug, Clone)]
pub struct Spawner(Weak<Mutex<JoinSet<()>>>);

impl Spawner {
    /// Starts a task, unless its owner is gone.
    pub fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        let mut tasks = tasks.lock().expect("nothing panics under this lock");
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }
}

impl<F> hyper::rt::Executor<F> for Spawner
where
    F: Future + Send + 'static,
{
    fn execute(&self, future: F) {
        self.spawn(async { drop(future.await) });
    }
}
