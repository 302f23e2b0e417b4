//! Faults to survive: killed and full and slow and hostile, each with what must hold all the same. Most
//! of them need the gateway as a process of its own.

mod clock;
mod disk;
mod kill;
mod slow;
mod stop;
mod streams;
