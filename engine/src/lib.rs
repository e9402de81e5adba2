//! An embeddable LSM storage engine in which every part can be exchanged.
