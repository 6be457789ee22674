package metadata

import (
	"iter"

	"github.com/tidwall/btree"
)

// tree is a persistent sorted map in an Image. A tree that stands in an image is only read; fork gives
// a tree that may be changed and shares its nodes.
type tree[T any] struct {
	t *btree.BTreeG[T]
}

func newTree[T any](less func(a, b T) bool) tree[T] {
	return tree[T]{btree.NewBTreeGOptions(less, btree.Options{NoLocks: true})}
}

// fork copies the tree in O(1). NB: Copy marks the tree it copies as shared by writing to it. Several
// goroutines may fork one published image, so a copy of the head is what gets marked; the published
// tree's nodes then belong to a head that no one ever writes through.
func (t tree[T]) fork() tree[T] {
	head := *t.t
	return tree[T]{head.Copy()}
}

func (t tree[T]) get(key T) (T, bool) { return t.t.Get(key) }
func (t tree[T]) set(item T)          { t.t.Set(item) }
func (t tree[T]) remove(key T)        { t.t.Delete(key) }
func (t tree[T]) len() int            { return t.t.Len() }

// all yields the items in order.
func (t tree[T]) all() iter.Seq[T] {
	return func(yield func(T) bool) { t.t.Scan(yield) }
}
