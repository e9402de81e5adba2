//! The fractal tree: large nodes with buffers, so that a change goes down together with many others.
//!
//! The buffered B-epsilon tree of Brodal and Fagerberg, "Lower bounds for external memory dictionaries" (SODA 2003), as Bender,
//! Farach-Colton, Jannen, Johnson, Kuszmaul, Porter, Yuan and Zhan describe it ("An introduction to B-epsilon-trees and
//! write-optimization", ;login: 40(5), 2015). Changes wait in the buffer of the child that they are for; when the buffers of a
//! node exceed their share, the fullest is emptied into its child. The bottom node of a path groups small leaves
//! ("basements"), each a piece of its own like each buffer, so that a read touches one of them on each level.
//!
//! Where the papers leave a choice: a flush empties the one fullest buffer (Bender et al.); changes pass by empty buffers
//! ("promotion") when they are as many as a buffer's share, or when keys have been ascending for a while and they are for the
//! right edge; what is underfull is merged by the next pass that changes it.

use kodiak_core::index::{IndexCapabilities, IndexFactory};
use kodiak_core::options::{OptionKind, OptionSpec, Options};
use kodiak_core::registry::Component;

use crate::pool::BufferPool;
use crate::store::piece::PAGE;
use crate::tree::Shape;
use crate::tree::handle::Tree;

/// The fractal tree.
pub(crate) const FACTORY: IndexFactory = IndexFactory {
    component: Component {
        name: "fractal",
        summary: "A B-epsilon tree: changes wait in buffers and go down in bulk, so that writes cost a fraction of a page.",
        options: &[
            OptionSpec {
                name: "node_size",
                kind: OptionKind::Bytes {
                    default: 4 << 20,
                    range: (16 << 10, 64 << 20),
                },
                help: "The most bytes of a node with its buffers, or of a bottom node with its basements.",
            },
            OptionSpec {
                name: "basement_size",
                kind: OptionKind::Bytes {
                    default: 128 << 10,
                    range: (4 << 10, 4 << 20),
                },
                help: "The most bytes of a basement, which is what a read of a leaf reads.",
            },
            OptionSpec {
                name: "fanout",
                kind: OptionKind::Int {
                    default: 16,
                    range: (4, 256),
                },
                help: "The most children of a node with buffers; fewer where the share of one in the buffers would be less than four pages.",
            },
            OptionSpec {
                name: "buffer_share",
                kind: OptionKind::Float {
                    default: 0.9,
                    range: (0.1, 1.0),
                },
                help: "The part of a node that its buffers may fill before the fullest is flushed.",
            },
            OptionSpec {
                name: "promotion",
                kind: OptionKind::Bool { default: true },
                help: "Many changes at once, and ascending keys, pass by empty buffers.",
            },
            crate::FILL,
            crate::COMPRESSION,
        ],
    },
    capabilities: IndexCapabilities {
        eager_displacement: false,
        blind_writes: true,
        reads_per_get: "one buffer per level, and one basement",
    },
    smallest_pool: |options| shape(options).smallest_pool,
    pool: |bytes| BufferPool::new(bytes),
    create: |context| {
        let shape = shape(&context.options);
        Tree::create(context, shape)
    },
    open: |context| {
        let shape = shape(&context.options);
        Tree::open(context, shape)
    },
};

/// The least share that a child has of the buffers of its node. Each buffer is written in whole pages: in smaller ones most of what is
/// written would not be what has changed.
const LEAST_SHARE: usize = 4 * PAGE as usize;

fn shape(options: &Options) -> Shape {
    let node = options.size("node_size");
    let basement = options.size("basement_size").min(node);
    let buffer_bytes = (node as f64 * options.float("buffer_share")) as usize;
    Shape {
        kind: FACTORY.component.name,
        leaf_bytes: basement - crate::store::piece::HEADER,
        node_bytes: node,
        bottom_fanout: (node / basement).max(4),
        fanout: options.size("fanout").min((buffer_bytes / LEAST_SHARE).max(4)),
        buffer_bytes,
        promote: options.bool("promotion"),
        fill: options.size("fill"),
        compress: options.name("compression") == "lz4",
        smallest_pool: 8 * node,
    }
}
