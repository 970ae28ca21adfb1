// The row of spatial_pyramid: an op that only the engine makes, out of nodes that packages have.
#pragma once
#include "engine/graph.h"

namespace covfast {

const OpRow& pyramid_row();

}  // namespace covfast
