//! `sockkit serve`: echoes, events, endings.
