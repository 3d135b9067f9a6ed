// Package debs keeps OVN's programs of other Debian releases in private roots, and as trees whatever
// else is made of packages. A root is made from
// packages that APT has downloaded and checked by Debian's signatures, without installing anything:
// a configuration of its own has APT leave the machine's lists and packages alone. The programs run
// with the root's own loader and libraries. What a root holds is known by digests, and checked
// whenever a lab begins to use it.
package debs
