/* The scalar table: portable C: the reference among the tables, and the only one where nothing better is known. */
#include "simd_scalar.h"

#define SC_ISA scalar
#define SC_TILE_ROWS 2
#define SC_CELLS 1
#define SC_SINGLE_PANELS 1

#include "kernels_body.h"
