/* The avx2 table: AVX2 and FMA: 16 registers of 8 lanes. */
#include "simd_avx2.h"

#define SC_ISA avx2
#define SC_TILE_ROWS 3
#define SC_CELLS 1
#define SC_SINGLE_PANELS 1

#include "kernels_body.h"
