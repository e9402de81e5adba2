//! The B+ tree: nodes and leaves of about a page, and every change goes straight to its leaf.
//!
//! After Bayer and McCreight, "Organization and maintenance of large ordered indexes" (Acta Informatica 1, 1972), in the variant
//! that Comer describes ("The ubiquitous B-tree", ACM Computing Surveys 11, 1979), with separators cut as in Bayer and Unterauer,
//! "Prefix B-trees" (ACM TODS 2, 1977), and committed by path copying as in shadow paging: a batch copies each node once.

use kodiak_core::index::{IndexCapabilities, IndexFactory};
use kodiak_core::options::{OptionKind, OptionSpec, Options};
use kodiak_core::registry::Component;

use crate::pool::BufferPool;
use crate::tree::Shape;
use crate::tree::handle::Tree;

/// The B+ tree.
pub(crate) const FACTORY: IndexFactory = IndexFactory {
    component: Component {
        name: "bplus",
        summary: "A B+ tree with copied paths: the fewest places to look in for a read, one page rewritten for a write.",
        options: &[
            OptionSpec {
                name: "page_size",
                kind: OptionKind::Bytes {
                    default: 8 << 10,
                    range: (4 << 10, 1 << 20),
                },
                help: "The most bytes of a leaf or node, in memory and, uncompressed, in the file.",
            },
            crate::FILL,
            crate::COMPRESSION,
        ],
    },
    capabilities: IndexCapabilities {
        eager_displacement: true,
        blind_writes: false,
        reads_per_get: "one page per level",
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

fn shape(options: &Options) -> Shape {
    let page = options.size("page_size");
    // The header of the piece belongs to the page.
    let body = page - crate::store::piece::HEADER;
    Shape {
        kind: FACTORY.component.name,
        leaf_bytes: body,
        node_bytes: body,
        bottom_fanout: 1 << 16,
        fanout: 1 << 16,
        buffer_bytes: 0,
        promote: false,
        fill: options.size("fill"),
        compress: options.name("compression") == "lz4",
        smallest_pool: 8 * page,
    }
}
